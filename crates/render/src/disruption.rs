//! How many pods a drain of nodes may take at once.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{Input, Role, labels, names};

/// One pod of the role at a time; a broken one does not hold up a node.
pub(crate) fn budget(input: &Input<'_>, role: Role) -> PodDisruptionBudget {
    let name = input.name();
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(LabelSelector {
            match_labels: Some(labels::selector(name, role)),
            ..LabelSelector::default()
        }),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget {
        metadata: input.metadata(names::role(name, role), labels::role(name, role)),
        spec: Some(spec),
        status: None,
    }
}

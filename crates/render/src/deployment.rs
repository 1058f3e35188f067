//! The Deployments.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{Input, Role, Surge, labels, names, pod};

/// Old templates that are kept to roll back to.
const HISTORY: i32 = 3;
/// A roll that makes no progress for so long is told as stuck, seconds: loading a model takes long.
const PROGRESS_S: i32 = 3600;

/// The pods of a role of one parallel degree.
pub(crate) fn deployment(
    input: &Input<'_>,
    role: Role,
    degree: u32,
    replicas: i32,
    revision: &str,
) -> Deployment {
    let name = names::deployment(input.name(), role, degree, revision);
    let all = pod::pod_labels(input, role, degree, revision);
    let mut selector = labels::selector(input.name(), role);
    for key in [labels::REVISION, labels::DEGREE] {
        selector.extend(all.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let spec = DeploymentSpec {
        replicas: Some(replicas),
        // What is not said is not put back.
        paused: Some(false),
        revision_history_limit: Some(HISTORY),
        progress_deadline_seconds: Some(PROGRESS_S),
        selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
        strategy: Some(strategy(input, role)),
        template: pod::template(input, role, degree, revision),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: input.metadata(name, all), spec: Some(spec), status: None }
}

/// A new pod beside the old ones where the budget has room for it, else in the place of one.
fn strategy(input: &Input<'_>, role: Role) -> DeploymentStrategy {
    let (surge, unavailable) = match input.facts.surge.get(&role).copied().unwrap_or_default() {
        Surge::OneMore => (1, 0),
        Surge::InPlace => (0, 1),
    };
    DeploymentStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(surge)),
            max_unavailable: Some(IntOrString::Int(unavailable)),
        }),
    }
}

//! Second step: what is wanted, from the manifest and from what is there.

use std::collections::BTreeMap;

use ampd_api::service::{PlannerMode, Policy};
use ampd_api::{AMPDPrefillScale, AMPDService, FieldErrors, Service};
use ampd_render::{BudgetExceeded, Facts, Role, Surge, revision, surge, wanted_gpus};

use super::dereference::{Capabilities, Observed};

/// What is wanted. There is no reason left for which it could not be built.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The manifest with its defaults.
    pub service: Service,
    /// What children depend on.
    pub facts: Facts,
    /// The revision of the manifest's model.
    pub newest: String,
    /// How many workers the manifest asks for.
    pub wish: BTreeMap<(Role, u32), i32>,
    /// More accelerators are wanted than the budget has; the workers stay as they are.
    pub exceeded: Option<BudgetExceeded>,
    /// The planner's mode.
    pub planner: PlannerMode,
    /// What was changed of the wish, for people.
    pub remarks: Vec<String>,
}

/// Reads the manifest's texts and decides how many workers there are to be.
///
/// # Errors
/// What the manifest breaks that the API server could not check.
pub fn validate(resource: &AMPDService, observed: &Observed) -> Result<Validated, FieldErrors> {
    let spec = &resource.spec;
    let service = Service::resolve(resource)?;
    let newest = revision(spec);
    let mut remarks = Vec::new();
    let replicas = wanted(&service, observed.prefill_scale.as_ref(), &mut remarks);
    let wish = replicas.clone();
    let Capabilities { pod_monitor, prometheus_rule } = observed.capabilities;
    let active = active_revision(resource, observed, &newest, &replicas);
    let mut facts = Facts {
        replicas,
        active_revision: Some(active),
        surge: BTreeMap::new(),
        pod_monitor,
        prometheus_rule,
    };
    let exceeded = match surge(spec, &facts) {
        Ok(found) => {
            facts.surge = found;
            None
        }
        Err(exceeded) => {
            // Whatever runs goes on; nothing is added.
            facts.replicas = observed.replicas(&newest, &facts.replicas);
            facts.surge = Role::ALL.map(|role| (role, Surge::InPlace)).into();
            Some(exceeded)
        }
    };
    Ok(Validated { service, facts, newest, wish, exceeded, planner: spec.planner.mode, remarks })
}

/// Each role's workers at its smallest parallel degree: the planner's choice once there is one.
fn wanted(
    service: &Service,
    scale: Option<&AMPDPrefillScale>,
    remarks: &mut Vec<String>,
) -> BTreeMap<(Role, u32), i32> {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    Role::ALL
        .into_iter()
        .map(|role| {
            let settings = role.of(service);
            let mut replicas = count(settings.min_replicas);
            if let Some(scale) = scale.filter(|_| role == Role::Prefill) {
                let most = count(settings.max_replicas);
                let least = i32::from(service.routing.policy == Policy::AlwaysRemote);
                let asked = scale.spec.replicas;
                replicas = asked.max(least).min(most);
                if asked > most {
                    remarks.push(format!(
                        "the AMPDPrefillScale asks for {asked} prefill workers, prefill.replicas.max allows {most}"
                    ));
                } else if asked < least {
                    remarks.push(
                        "the AMPDPrefillScale asks for no prefill workers, routing.policy always_remote needs one"
                            .to_owned(),
                    );
                }
            }
            ((role, settings.tensor_parallel.first().copied().unwrap_or(1)), replicas)
        })
        .collect()
}

/// Where clients are sent: to the present revision until the newest one has all its workers, except where the budget has no
/// room for both. A present one that never served is not waited for. One that did and does not now may come back, as after the
/// loss of a node; the newest one takes its place as soon as it can.
fn active_revision(
    resource: &AMPDService,
    observed: &Observed,
    newest: &str,
    replicas: &BTreeMap<(Role, u32), i32>,
) -> String {
    let present = resource.status.as_ref().and_then(|status| status.active_revision.clone());
    let Some(present) = present.filter(|present| present != newest && observed.has_revision(present)) else {
        return newest.to_owned();
    };
    let budget = resource.spec.accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref());
    let (wanted, most) = (wanted_gpus(replicas), budget.map(|budget| i64::from(budget.max)));
    // A wish that cannot be fulfilled takes nothing away.
    let impossible = most.is_some_and(|most| wanted > most);
    let no_room = most.is_some_and(|most| observed.gpus_of_revision(&present) + wanted > most);
    let switch = no_room || observed.is_complete(newest, replicas) || !observed.has_served(&present);
    if switch && !impossible { newest.to_owned() } else { present }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use ampd_render::labels;

    use super::*;

    /// A Deployment of decode workers whose roll has come to its end, or not.
    fn deployment(revision: &str, complete: bool) -> Deployment {
        let reason = if complete { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
        serde_json::from_value(json!({
            "metadata": {"name": revision, "labels": {
                labels::COMPONENT: "decode", labels::REVISION: revision, labels::DEGREE: "1",
            }},
            "spec": {"selector": {}, "template": {}},
            "status": {"conditions": [{"type": "Progressing", "status": "True", "reason": reason}]},
        }))
        .unwrap()
    }

    fn pod(revision: &str, role: &str, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {
                labels::COMPONENT: role, labels::REVISION: revision, labels::DEGREE: "1",
            }},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap()
    }

    /// Where clients go with a present revision and a newest one that wants two decode workers and one prefill worker.
    fn active(budget: Option<i32>, wanted: i32, complete: bool, pods: Vec<Pod>) -> String {
        let accelerator = budget.map(|max| json!({"budget": {"max": max}}));
        let resource: AMPDService = serde_json::from_value(json!({
            "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": {"name": "chat"},
            "spec": {"model": {"name": "m", "source": {"path": "/m.gguf"}}, "accelerator": accelerator},
            "status": {"activeRevision": "present", "conditions": []},
        }))
        .unwrap();
        let deployments = vec![deployment("present", complete), deployment("newest", false)];
        let observed = Observed { deployments, pods, ..Observed::default() };
        let replicas = [((Role::Decode, 1), wanted), ((Role::Prefill, 1), 1)].into();
        active_revision(&resource, &observed, "newest", &replicas)
    }

    #[test]
    fn clients_go_to_the_newest_revision_when_it_is_complete() {
        let decode = |ready| pod("newest", "decode", ready);
        let prefill = || pod("newest", "prefill", true);
        let serves = || pod("present", "decode", true);
        let newest = |pods| active(None, 2, true, pods) == "newest";
        assert!(!newest(vec![serves(), decode(true), decode(false), prefill()]));
        assert!(!newest(vec![serves(), decode(true), decode(true)]));
        assert!(newest(vec![serves(), decode(true), decode(true), prefill()]));
    }

    #[test]
    fn a_present_revision_may_be_down_for_a_moment_and_one_that_never_served_is_not_kept() {
        let down = || vec![pod("present", "decode", false), pod("newest", "decode", false)];
        assert_eq!(active(None, 2, true, down()), "present");
        assert_eq!(active(None, 2, false, down()), "newest");
    }

    #[test]
    fn the_budget_decides_whether_both_can_be() {
        let pods = || vec![pod("present", "decode", true), pod("present", "prefill", true)];
        assert_eq!(active(Some(5), 2, true, pods()), "present");
        // No room for both: one goes for the other.
        assert_eq!(active(Some(4), 2, true, pods()), "newest");
        // No room for the newest alone: nothing goes.
        assert_eq!(active(Some(4), 9, true, pods()), "present");
    }
}

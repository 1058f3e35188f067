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
    let wish = wanted(&service, observed.prefill_scale.as_ref(), &mut remarks);
    let Capabilities { pod_monitor, prometheus_rule } = observed.capabilities;
    let (active, replicas) = active_revision(resource, observed, &newest, &wish);
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

/// Where clients are sent, and how many workers the newest revision is to have meanwhile. Clients are sent to the present
/// revision until the newest one has all its workers, except where the budget has no room for both, as they are meant to be:
/// what ends or is replaced at this moment goes by itself. A newest one that has begun to come up beside the present one goes
/// on as it is when more is asked for than fits; the rest comes when the present one has gone. A present one that never
/// served is not waited for. One that did and does not now may come back, as after the loss of a node; the newest one takes
/// its place as soon as it can.
fn active_revision(
    resource: &AMPDService,
    observed: &Observed,
    newest: &str,
    wish: &BTreeMap<(Role, u32), i32>,
) -> (String, BTreeMap<(Role, u32), i32>) {
    let present = resource.status.as_ref().and_then(|status| status.active_revision.clone());
    let Some(present) = present.filter(|present| present != newest && observed.has_revision(present)) else {
        return (newest.to_owned(), wish.clone());
    };
    let budget = resource.spec.accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref());
    let most = budget.map(|budget| i64::from(budget.max));
    // A wish that cannot be fulfilled takes nothing away.
    if most.is_some_and(|most| wanted_gpus(wish) > most) {
        return (present, wish.clone());
    }
    let meant = observed.gpus_meant_for(&present);
    let fits = |replicas: &BTreeMap<_, _>| most.is_none_or(|most| meant + wanted_gpus(replicas) <= most);
    let mut replicas = wish.clone();
    if !fits(wish) {
        let begun = observed.replicas(newest, wish).into_values();
        let held = wish.iter().zip(begun).map(|((key, count), begun)| (*key, begun.min(*count)));
        let held: BTreeMap<_, _> = held.collect();
        let decodes = held.iter().any(|((role, _), count)| *role == Role::Decode && *count > 0);
        if decodes && fits(&held) {
            replicas = held;
        }
    }
    let switch =
        !fits(&replicas) || observed.is_complete(newest, &replicas) || !observed.has_served(&present);
    if switch { (newest.to_owned(), wish.clone()) } else { (present, replicas) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use ampd_render::labels;

    use super::*;

    /// A Deployment whose roll has come to its end, or not.
    fn deployment(revision: &str, role: &str, replicas: i32, complete: bool) -> Deployment {
        let reason = if complete { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
        serde_json::from_value(json!({
            "metadata": {"name": revision, "labels": {
                labels::COMPONENT: role, labels::REVISION: revision, labels::DEGREE: "1",
            }},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
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

    /// Where clients go, and how many decode workers the newest revision is to have, with a present revision of one worker of
    /// each role and a newest one that wants some decode workers and one prefill worker, and has begun with so many.
    fn active(
        budget: Option<i32>,
        (wanted, begun): (i32, Option<i32>),
        complete: bool,
        pods: Vec<Pod>,
    ) -> (String, i32) {
        let accelerator = budget.map(|max| json!({"budget": {"max": max}}));
        let resource: AMPDService = serde_json::from_value(json!({
            "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": {"name": "chat"},
            "spec": {"model": {"name": "m", "source": {"path": "/m.gguf"}}, "accelerator": accelerator},
            "status": {"activeRevision": "present", "conditions": []},
        }))
        .unwrap();
        let mut deployments =
            vec![deployment("present", "decode", 1, complete), deployment("present", "prefill", 1, complete)];
        if let Some(begun) = begun {
            deployments.push(deployment("newest", "decode", begun, false));
            deployments.push(deployment("newest", "prefill", 1, false));
        }
        let observed = Observed { deployments, pods, ..Observed::default() };
        let wish = [((Role::Decode, 1), wanted), ((Role::Prefill, 1), 1)].into();
        let (active, replicas) = active_revision(&resource, &observed, "newest", &wish);
        (active, replicas[&(Role::Decode, 1)])
    }

    #[test]
    fn clients_go_to_the_newest_revision_when_it_is_complete() {
        let decode = |ready| pod("newest", "decode", ready);
        let prefill = || pod("newest", "prefill", true);
        let serves = || pod("present", "decode", true);
        let newest = |pods| active(None, (2, Some(2)), true, pods).0 == "newest";
        assert!(!newest(vec![serves(), decode(true), decode(false), prefill()]));
        assert!(!newest(vec![serves(), decode(true), decode(true)]));
        assert!(newest(vec![serves(), decode(true), decode(true), prefill()]));
    }

    #[test]
    fn a_present_revision_may_be_down_for_a_moment_and_one_that_never_served_is_not_kept() {
        let down = || vec![pod("present", "decode", false), pod("newest", "decode", false)];
        assert_eq!(active(None, (2, Some(2)), true, down()).0, "present");
        assert_eq!(active(None, (2, Some(2)), false, down()).0, "newest");
    }

    #[test]
    fn the_budget_decides_whether_both_can_be() {
        let pods = || vec![pod("present", "decode", true), pod("present", "prefill", true)];
        assert_eq!(active(Some(5), (2, None), true, pods()), ("present".into(), 2));
        // No room for both: one goes for the other.
        assert_eq!(active(Some(4), (2, None), true, pods()), ("newest".into(), 2));
        // No room for the newest alone: nothing goes.
        assert_eq!(active(Some(4), (9, None), true, pods()), ("present".into(), 9));
        assert_eq!(active(Some(4), (9, Some(1)), true, pods()), ("present".into(), 9));
    }

    #[test]
    fn pods_of_a_moment_take_no_revision_down() {
        // One that ends, and one more while an image rolls.
        let pods = || {
            let mut ends = pod("present", "decode", true);
            ends.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
            vec![pod("present", "decode", true), pod("present", "prefill", true), ends]
        };
        assert_eq!(active(Some(4), (1, None), true, pods()), ("present".into(), 1));
    }

    #[test]
    fn more_that_is_asked_for_while_a_revision_comes_up_waits_for_the_present_one() {
        let mut pods = vec![pod("present", "decode", true), pod("present", "prefill", true)];
        assert_eq!(active(Some(5), (4, Some(2)), true, pods.clone()), ("present".into(), 2));
        // Fewer are taken away at once.
        assert_eq!(active(Some(5), (1, Some(2)), true, pods.clone()), ("present".into(), 1));
        // Complete as it was held, it takes over and gets what was asked for.
        pods.extend([
            pod("newest", "decode", true),
            pod("newest", "decode", true),
            pod("newest", "prefill", true),
        ]);
        assert_eq!(active(Some(5), (4, Some(2)), true, pods), ("newest".into(), 4));
    }
}

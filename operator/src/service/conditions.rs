//! The conditions of a service, from what is wanted and what there is. Each is a chain of checks: the first that fails is the
//! reason.

use std::cmp::Reverse;

use ampd_api::service::PlannerMode;
use ampd_render::{Role, labels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::build::Plan;
use super::dereference::Observed;
use super::kinds::Kind;
use super::observed::{is_ready, label, role_of};
use super::pod_trouble::{Trouble, WAITING, trouble};
use super::slo::slo_met;
use super::update_status::Seen;
use super::validate::Validated;
use super::verdict::Verdict;
use crate::condition::{ConditionType, Holds, Reason};

/// There are as many workers as are asked for, all of the newest template.
pub(crate) const AS_EXPECTED: Reason = Reason::new("AsExpected");
/// Workers of a changed template take the place of the present ones.
pub(crate) const ROLLING: Reason = Reason::new("Rolling");
/// More workers than are asked for are there, of the newest template.
pub(crate) const SCALING_DOWN: Reason = Reason::new("ScalingDown");
/// Workers are still to come, and nothing is wrong.
pub(crate) const STARTING: Reason = Reason::new("Starting");

/// What there is of a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// How many there are to be.
    pub(crate) desired: i32,
    /// Pods that there are.
    pub(crate) replicas: i32,
    /// Those that are ready.
    pub(crate) ready: i32,
    /// Those of the newest template; `None` while the cluster has not taken in the last change.
    pub(crate) updated: Option<i32>,
}

pub(crate) fn count(validated: &Validated, observed: &Observed, plan: &Plan, role: Role) -> Count {
    let number = |pods: usize| i32::try_from(pods).unwrap_or(i32::MAX);
    let newest = validated.newest.as_str();
    let live = || observed.live_pods_of(role);
    let of_newest = |found: &&Deployment| {
        role_of(*found) == Some(role) && label(*found, labels::REVISION) == Some(newest)
    };
    let written = |found: &Deployment| {
        plan.apply
            .iter()
            .any(|(kind, name, _)| *kind == Kind::Deployment && Some(name) == found.metadata.name.as_ref())
    };
    let updated = observed.deployments.iter().filter(of_newest);
    let updated = updated.map(|found| updated_replicas(found).filter(|_| !written(found))).sum();
    // Clients come to no other.
    let active = validated.facts.active_revision.as_deref();
    let serves = |pod: &&Pod| is_ready(pod) && label(*pod, labels::REVISION) == active;
    Count {
        desired: validated.wish.iter().filter(|((of, _), _)| *of == role).map(|(_, count)| count).sum(),
        replicas: number(live().count()),
        ready: number(live().filter(serves).count()),
        updated,
    }
}

/// Pods of a Deployment's template. What its controller counted before the last change says nothing of it.
fn updated_replicas(deployment: &Deployment) -> Option<i32> {
    let status = deployment.status.as_ref()?;
    let current = status.observed_generation == deployment.metadata.generation;
    current.then(|| status.updated_replicas.unwrap_or(0))
}

/// All conditions, each with its type. `met_before` is whether the objectives were met until now, where that is known.
pub(crate) fn verdicts(seen: &Seen<'_>, met_before: Option<bool>) -> Vec<(ConditionType, Verdict)> {
    let Seen { validated, observed, plan, measured } = *seen;
    let decode = role(validated, observed, plan, Role::Decode);
    let prefill = role(validated, observed, plan, Role::Prefill);
    let ready = ready(validated, observed, &decode, &prefill);
    vec![
        (ConditionType::Ready, ready),
        (ConditionType::PrefillReady, prefill),
        (ConditionType::DecodeReady, decode),
        (ConditionType::Planned, planned(validated.planner)),
        (ConditionType::SloMet, slo_met(measured, &validated.service.slo, met_before)),
        (ConditionType::Draining, draining(plan)),
    ]
}

fn role(validated: &Validated, observed: &Observed, plan: &Plan, role: Role) -> Verdict {
    let count = count(validated, observed, plan, role);
    if let Some(exceeded) = validated.exceeded {
        let message = format!(
            "the workers need {} accelerators, accelerator.budget.max is {}: raise it, or ask for fewer workers or smaller parallel degrees",
            exceeded.wanted, exceeded.budget
        );
        return Verdict::new(Holds::False, const { Reason::new("BudgetExceeded") }, message);
    }
    if let Some(missing) = observed.missing.first() {
        let message = format!("{}: there is no {} in the namespace", missing.field, missing.what);
        return Verdict::new(Holds::False, const { Reason::new("ReferenceMissing") }, message);
    }
    if count.desired == 0 {
        return Verdict::new(
            Holds::True,
            const { Reason::new("NoneWanted") },
            "no workers are asked for: every prefill is local",
        );
    }
    let mut numbers = if count.ready <= count.desired {
        format!("{} of {} pods are ready", count.ready, count.desired)
    } else {
        format!("{} pods are ready, {} are asked for", count.ready, count.desired)
    };
    if role == Role::Prefill {
        // What was asked for otherwise is not there, and the numbers alone would look right.
        numbers.extend(validated.remarks.iter().map(|remark| format!("; {remark}")));
    }
    let of_newest = |pod: &&Pod| label(*pod, labels::REVISION) == Some(validated.newest.as_str());
    let trouble = first_trouble(observed.pods_of(role).filter(of_newest))
        .or_else(|| observed.deployments_of(&validated.newest, role).find_map(pods_refused));
    let words = trouble.as_ref().map(|trouble| format!("; {}", trouble.message)).unwrap_or_default();
    if count.ready < count.desired {
        let reason = trouble.map_or(STARTING, |trouble| trouble.reason);
        return Verdict::new(Holds::False, reason, numbers + &words);
    }
    progress(&count, &numbers, &words)
}

/// What becomes of a role of which enough pods are ready. What is there serves, whatever becomes of what is to take its place.
fn progress(count: &Count, numbers: &str, words: &str) -> Verdict {
    match count.updated {
        None => {
            let message = format!("{numbers}; the cluster is taking in the last change{words}");
            Verdict::new(Holds::True, ROLLING, message)
        }
        Some(updated) if updated < count.desired.max(count.replicas) => {
            let message = format!("{numbers}, {updated} are of the newest template{words}");
            Verdict::new(Holds::True, ROLLING, message)
        }
        Some(_) if count.replicas > count.desired => {
            let message =
                format!("{numbers}; {} are on their way out{words}", count.replicas - count.desired);
            Verdict::new(Holds::True, SCALING_DOWN, message)
        }
        Some(_) => Verdict::new(Holds::True, AS_EXPECTED, numbers),
    }
}

/// Why the cluster takes no pods of a Deployment, in its own words: quotas and policies.
fn pods_refused(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|found| found.type_ == "ReplicaFailure" && found.status == "True")?;
    let words = failure.message.as_deref().unwrap_or("the cluster takes no pods");
    let message = format!("Deployment {}: {words}", deployment.name_any());
    Some(Trouble { reason: const { Reason::new("PodsRefused") }, message })
}

/// The trouble to tell: of the youngest pod that has one, since it is what came of the manifest's last change. One that only
/// waits for its turn says least.
fn first_trouble<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<Trouble> {
    let troubles = pods.filter_map(|pod| Some((pod, trouble(pod)?)));
    let first = troubles.min_by_key(|(pod, trouble)| {
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (trouble.reason == WAITING, Reverse(made), trouble.message.clone())
    });
    first.map(|(_, trouble)| trouble)
}

fn ready(validated: &Validated, observed: &Observed, decode: &Verdict, prefill: &Verdict) -> Verdict {
    let active = validated.facts.active_revision.as_deref();
    if active != Some(validated.newest.as_str()) && active.is_some_and(|active| observed.serves(active)) {
        let message = format!(
            "the workers of the changed model start beside the present ones, which serve until then; decode: {}; prefill: {}",
            decode.message, prefill.message
        );
        return Verdict::new(Holds::True, const { Reason::new("ReplacingRevision") }, message);
    }
    for (part, verdict) in [("decode", decode), ("prefill", prefill)] {
        if verdict.holds != Holds::True {
            return Verdict::new(Holds::False, verdict.reason, format!("{part}: {}", verdict.message));
        }
    }
    for (part, verdict) in [("decode", decode), ("prefill", prefill)] {
        if verdict.reason == ROLLING || verdict.reason == SCALING_DOWN {
            return Verdict::new(Holds::True, verdict.reason, format!("{part}: {}", verdict.message));
        }
    }
    Verdict::new(Holds::True, AS_EXPECTED, "all workers that are asked for are ready")
}

fn planned(mode: PlannerMode) -> Verdict {
    match mode {
        PlannerMode::Off => Verdict::new(
            Holds::False,
            const { Reason::new("Off") },
            "planner.mode is Off: there are as many workers as the manifest says",
        ),
        PlannerMode::Advisory | PlannerMode::Auto => Verdict::new(
            Holds::False,
            const { Reason::new("PlannerNotAvailable") },
            "this version has no planner: there are as many workers as with planner.mode Off",
        ),
    }
}

fn draining(plan: &Plan) -> Verdict {
    match &plan.drain.draining[..] {
        [] => Verdict::new(
            Holds::False,
            const { Reason::new("NothingToDrain") },
            "no decode pod is on its way out",
        ),
        pods => Verdict::new(
            Holds::True,
            const { Reason::new("PodsToGo") },
            format!(
                "no new sessions on {}; {} sessions have moved, {} are to move",
                pods.join(", "),
                plan.drain.moved,
                plan.drain.left
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_from_before_the_last_change_is_none() {
        let counted = |generation: i64, observed: i64| {
            let deployment = json!({
                "metadata": {"name": "d", "generation": generation}, "spec": {"selector": {}, "template": {}},
                "status": {"observedGeneration": observed, "updatedReplicas": 2},
            });
            updated_replicas(&serde_json::from_value(deployment).unwrap())
        };
        assert_eq!((counted(3, 3), counted(4, 3)), (Some(2), None));
        assert_eq!(updated_replicas(&Deployment::default()), None);
    }

    #[test]
    fn pods_too_many_are_on_their_way_out_only_if_all_are_of_the_newest_template() {
        let told = |replicas, updated| {
            let count = Count { desired: 2, replicas, ready: 2, updated };
            progress(&count, "numbers", "; pod x: words")
        };
        for (replicas, updated, reason, words) in [
            (2, Some(2), AS_EXPECTED, false),
            (3, Some(3), SCALING_DOWN, true),
            // A pod of the new template beside all of the present ones, and the last one of those.
            (3, Some(1), ROLLING, true),
            (3, Some(2), ROLLING, true),
            (2, None, ROLLING, true),
        ] {
            let verdict = told(replicas, updated);
            assert_eq!((verdict.holds, verdict.reason), (Holds::True, reason), "{replicas} {updated:?}");
            assert_eq!(verdict.message.contains("pod x: words"), words, "{}", verdict.message);
        }
    }

    #[test]
    fn the_youngest_pod_in_trouble_tells_what_it_is() {
        let pod = |name: &str, minute: u32, waiting: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")},
                "status": {"containerStatuses": [{
                    "name": "worker", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": waiting, "message": "words"}},
                }]},
            }))
            .unwrap()
        };
        let pods = [
            pod("a", 1, "ErrImagePull"),
            pod("c", 2, "ErrImageNeverPull"),
            pod("b", 2, "ErrImagePull"),
            pod("d", 3, "ContainerCreating"),
        ];
        let found = first_trouble(pods.iter()).unwrap();
        assert!(found.message.starts_with("pod b"), "{found:?}");
        assert_eq!(first_trouble(pods[3..].iter()), None);
    }
}

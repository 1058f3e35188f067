//! Which decode pods are to go, and when: the sessions on them first go elsewhere or end their rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use ampd_render::{Role, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::dereference::Observed;
use super::observed::{degree_of, is_over, is_ready, label, runs};

/// What a decode pod's sidecar says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Rounds that run.
    pub rounds: u64,
    /// Tokens whose KV it holds.
    pub kv_tokens: u64,
    /// Sessions may still move from it.
    pub moving: bool,
    /// Sessions that are to move.
    pub left: u64,
    /// Sessions that have moved.
    pub moved: u64,
}

/// What is to be done so that there are fewer decode pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drain {
    /// Replicas of the decode Deployments of the newest revision, held back until their pods may go.
    pub replicas: BTreeMap<u32, i32>,
    /// Pods that are to take no new sessions from now on.
    pub mark: Vec<String>,
    /// Pods that are to stay after all.
    pub unmark: Vec<String>,
    /// Pods that are on their way out.
    pub draining: Vec<String>,
    /// Those of them that go now.
    pub going: Vec<String>,
    /// Sessions that are to move from them.
    pub left: u64,
    /// Sessions that have moved from them.
    pub moved: u64,
}

/// Decides for all decode Deployments of a revision. `wanted` are their replicas to be; `held` is what the sidecars said. Of a
/// pod that runs and whose sidecar said nothing it is not known what it holds, so its time is waited for.
#[must_use]
pub fn drain(
    observed: &Observed,
    revision: &str,
    wanted: &BTreeMap<(Role, u32), i32>,
    held: &BTreeMap<String, Held>,
    timeout: Duration,
    now: Timestamp,
) -> Drain {
    let present = observed.replicas(revision, wanted);
    let mut result = Drain::default();
    for (&(role, degree), &count) in wanted.iter().filter(|((role, _), _)| *role == Role::Decode) {
        let mut pods: Vec<&Pod> = observed
            .pods_of(role)
            .filter(|pod| label(*pod, labels::REVISION) == Some(revision) && degree_of(*pod) == degree)
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_over(pod))
            .collect();
        // Those that go first: already marked, not ready, least KV, youngest.
        pods.sort_by_key(|pod| {
            let tokens = held.get(&pod.name_any()).map_or(0, |held| held.kv_tokens);
            let age = pod.metadata.creation_timestamp.as_ref().map(|time| std::cmp::Reverse(time.0));
            (since(pod).is_none(), is_ready(pod), tokens, age, pod.name_any())
        });
        let now_there = present.get(&(role, degree)).copied().unwrap_or(0);
        let going = usize::try_from(now_there - count).unwrap_or(0).min(pods.len());
        let (victims, staying) = pods.split_at(going);
        result.unmark.extend(staying.iter().filter(|pod| since(pod).is_some()).map(|pod| pod.name_any()));
        let mut done = true;
        for pod in victims {
            let name = pod.name_any();
            let told = held.get(&name).copied();
            match since(pod) {
                None => {
                    result.mark.push(name.clone());
                    done = false;
                }
                Some(start) => {
                    let over = now.duration_since(start).unsigned_abs() >= timeout;
                    let empty = told.is_some_and(|told| told.rounds == 0 && !told.moving);
                    // One without running containers has nothing. One that is silent may go on, though it is not ready now.
                    let may_hold = is_ready(pod) || (told.is_none() && runs(pod));
                    done &= over || empty || !may_hold;
                    result.left += told.map_or(0, |told| told.left);
                    result.moved += told.map_or(0, |told| told.moved);
                }
            }
            result.draining.push(name);
        }
        if done {
            result.going.extend(victims.iter().map(|pod| pod.name_any()));
        }
        result.replicas.insert(degree, if done { count } else { now_there });
    }
    result
}

/// Since when a pod is on its way out.
pub(crate) fn since(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.annotations.as_ref()?.get(labels::DRAINING)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    fn pod(name: &str, since: Option<&str>) -> Pod {
        let annotations = since.map(|time| json!({labels::DRAINING: time})).unwrap_or_default();
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": annotations, "labels": {
                labels::COMPONENT: "decode", labels::REVISION: "r", labels::DEGREE: "1",
            }},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn observed(pods: Vec<Pod>, replicas: i32) -> Observed {
        let deployment = json!({
            "metadata": {"name": "d", "labels": {
                labels::COMPONENT: "decode", labels::REVISION: "r", labels::DEGREE: "1",
            }},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        });
        Observed {
            pods,
            deployments: vec![serde_json::from_value(deployment).unwrap()],
            ..Observed::default()
        }
    }

    fn decide(observed: &Observed, count: i32, held: &[(&str, u64, u64)]) -> Drain {
        let held = held
            .iter()
            .map(|&(name, rounds, kv_tokens)| (name, Held { rounds, kv_tokens, ..Held::default() }));
        decide_held(observed, count, &held.collect::<Vec<_>>())
    }

    fn decide_held(observed: &Observed, count: i32, held: &[(&str, Held)]) -> Drain {
        let held = held.iter().map(|(name, held)| ((*name).to_owned(), *held));
        let wanted = [((Role::Decode, 1), count)].into();
        drain(observed, "r", &wanted, &held.collect(), Duration::from_secs(30), NOW.parse().unwrap())
    }

    #[test]
    fn the_pod_with_the_least_kv_is_marked_first_and_goes_when_its_rounds_are_over() {
        let fresh = observed(vec![pod("a", None), pod("b", None)], 2);
        let held = [("a", 1, 500), ("b", 2, 100)];
        let first = decide(&fresh, 1, &held);
        assert_eq!((first.mark, first.draining), (vec!["b".to_owned()], vec!["b".to_owned()]));
        assert_eq!(first.replicas[&1], 2);

        let marked = observed(vec![pod("a", None), pod("b", Some("2026-01-01T00:00:50Z"))], 2);
        let going = decide(&marked, 1, &held);
        assert_eq!((going.replicas[&1], going.going), (2, vec![]));
        let gone = decide(&marked, 1, &[("a", 1, 0), ("b", 0, 100)]);
        assert_eq!((gone.replicas[&1], gone.going), (1, vec!["b".to_owned()]));
        // Another one does not take its place, though it holds less by now.
        assert_eq!(decide(&marked, 1, &[("a", 1, 0), ("b", 1, 100)]).draining, ["b"]);
    }

    #[test]
    fn a_pod_goes_when_its_sessions_have_moved() {
        let marked = observed(vec![pod("a", None), pod("b", Some("2026-01-01T00:00:50Z"))], 2);
        let held = |rounds, moving, left, moved| Held { rounds, moving, left, moved, kv_tokens: 100 };
        let stays = ("a", held(3, false, 0, 0));
        let going = decide_held(&marked, 1, &[stays, ("b", held(0, true, 2, 3))]);
        assert_eq!((going.replicas[&1], going.left, going.moved), (2, 2, 3));
        // Nothing was found yet, which does not mean that nothing is there.
        assert_eq!(decide_held(&marked, 1, &[stays, ("b", held(0, true, 0, 0))]).replicas[&1], 2);
        assert_eq!(decide_held(&marked, 1, &[stays, ("b", held(1, false, 0, 5))]).replicas[&1], 2);
        assert_eq!(decide_held(&marked, 1, &[stays, ("b", held(0, false, 0, 5))]).replicas[&1], 1);
        // A sidecar that says nothing may hold anything.
        assert_eq!(decide_held(&marked, 1, &[stays]).replicas[&1], 2);
        let silent = |state: serde_json::Value| {
            let mut going = pod("b", Some("2026-01-01T00:00:50Z"));
            going.status = serde_json::from_value(json!({"containerStatuses": [
                {"name": "worker", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
            ]}))
            .unwrap();
            decide_held(&observed(vec![pod("a", None), going], 2), 1, &[stays]).replicas[&1]
        };
        assert_eq!(silent(json!({"running": {}})), 2);
        assert_eq!(silent(json!({"waiting": {"reason": "CrashLoopBackOff"}})), 1);
        let late = observed(vec![pod("a", None), pod("b", Some("2026-01-01T00:00:20Z"))], 2);
        assert_eq!(decide_held(&late, 1, &[stays, ("b", held(0, true, 2, 3))]).replicas[&1], 1);
        assert_eq!(decide_held(&late, 1, &[stays]).replicas[&1], 1);
    }

    #[test]
    fn a_drain_ends_with_its_timeout_and_can_be_taken_back() {
        let late = observed(vec![pod("a", None), pod("b", Some("2026-01-01T00:00:20Z"))], 2);
        let held = [("a", 1, 500), ("b", 2, 100)];
        assert_eq!(decide(&late, 1, &held).replicas[&1], 1);
        let back = decide(&late, 2, &held);
        assert_eq!((back.unmark, back.replicas[&1]), (vec!["b".to_owned()], 2));
        assert!(back.draining.is_empty() && back.mark.is_empty());
    }

    #[test]
    fn more_pods_need_no_drain() {
        let few = observed(vec![pod("a", None)], 1);
        assert_eq!(decide(&few, 3, &[]), Drain { replicas: [(1, 3)].into(), ..Drain::default() });
    }
}

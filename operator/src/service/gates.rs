//! Which pods the budget has room for.

use ampd_render::Role;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::observed::{degree_of, is_gated, is_over, role_of};

/// The pods whose gate is to be opened: what runs, what ends and what is let in stay within `budget` together. Decode pods come
/// first, then the oldest.
#[must_use]
pub fn open(pods: &[Pod], budget: i64) -> Vec<String> {
    let mut room = budget - held(pods);
    let mut waiting: Vec<&Pod> = pods
        .iter()
        .filter(|pod| is_gated(pod) && !is_over(pod) && pod.metadata.deletion_timestamp.is_none())
        .collect();
    waiting.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (role_of(*pod) != Some(Role::Decode), created, pod.name_any())
    });
    let mut opened = Vec::new();
    for pod in waiting {
        let needs = i64::from(degree_of(pod));
        if needs <= room {
            room -= needs;
            opened.push(pod.name_any());
        }
    }
    opened
}

/// Accelerators that pods hold: those that are let in and not over, ending ones too.
#[must_use]
pub fn held(pods: &[Pod]) -> i64 {
    pods.iter().filter(|pod| !is_over(pod) && !is_gated(pod)).map(|pod| i64::from(degree_of(pod))).sum()
}

/// Accelerators that pods have: those that are on a node.
#[must_use]
pub fn in_use(pods: &[Pod]) -> i64 {
    let placed = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    pods.iter().filter(placed).filter(|pod| !is_over(pod)).map(|pod| i64::from(degree_of(pod))).sum()
}

#[cfg(test)]
mod tests {
    use ampd_render::labels;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, role: &str, degree: u32, gated: bool, phase: &str) -> Pod {
        let gates = if gated { json!([{"name": labels::BUDGET_GATE}]) } else { json!([]) };
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {labels::COMPONENT: role, labels::DEGREE: degree.to_string()}},
            "spec": {"containers": [], "schedulingGates": gates},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn decode_pods_come_first_and_small_ones_fill_the_room() {
        let pods = [
            pod("p", "prefill", 2, true, "Pending"),
            pod("d", "decode", 4, true, "Pending"),
            pod("r", "decode", 2, false, "Running"),
            pod("s", "prefill", 1, true, "Pending"),
            pod("over", "decode", 4, false, "Failed"),
        ];
        assert_eq!(open(&pods, 8), ["d", "p"]);
        assert_eq!(open(&pods, 6), ["d"]);
        assert_eq!(open(&pods, 5), ["p", "s"]);
        assert!(open(&pods, 1).is_empty());
    }

    #[test]
    fn a_pod_that_no_node_has_taken_uses_nothing() {
        let mut placed = pod("placed", "decode", 2, false, "Running");
        placed.spec.as_mut().unwrap().node_name = Some("node".into());
        let mut over = pod("over", "decode", 4, false, "Succeeded");
        over.spec.as_mut().unwrap().node_name = Some("node".into());
        let pods = [placed, over, pod("waits", "decode", 4, false, "Pending")];
        assert_eq!((in_use(&pods), held(&pods)), (2, 6));
    }

    proptest! {
        #[test]
        fn the_budget_holds(
            list in prop::collection::vec((any::<bool>(), 1..5_u32, any::<bool>(), any::<bool>()), 0..12), budget in 0..20_i64,
        ) {
            let pods: Vec<Pod> = list.iter().enumerate().map(|(index, (decode, degree, gated, over))| {
                let role = if *decode { "decode" } else { "prefill" };
                pod(&format!("p{index}"), role, *degree, *gated, if *over { "Failed" } else { "Running" })
            }).collect();
            let opened = open(&pods, budget);
            let more: i64 = pods.iter().filter(|pod| opened.contains(&pod.name_any())).map(|pod| i64::from(degree_of(pod))).sum();
            prop_assert!(opened.is_empty() || held(&pods) + more <= budget);
        }
    }
}

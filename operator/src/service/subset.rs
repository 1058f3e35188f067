//! Whether an object in the cluster is as it was applied.

use serde_json::{Value, json};

/// Maps in which one more entry changes what all the others say.
const EXACT: [&str; 4] = ["selector", "podSelector", "matchLabels", "nodeSelector"];
/// What the API server adds to the specification of a pod by itself; whatever else is there beside what was applied decides how
/// pods run, and is somebody's.
const POD_DEFAULTS: [&str; 4] = ["dnsPolicy", "restartPolicy", "schedulerName", "serviceAccount"];
/// Fields that are left out where they are `false`.
const FALSE: [&str; 1] = ["paused"];

/// Whether everything that `wanted` says is so in `present`, which may say more: defaults, and fields of others. Selectors may
/// not.
pub(crate) fn holds(wanted: &Value, present: &Value) -> bool {
    match (wanted, present) {
        (Value::Object(wanted), Value::Object(present)) => wanted.iter().all(|(key, value)| {
            // An empty map or list may be left out.
            let exact = EXACT.contains(&key.as_str());
            let left_out = || is_empty(value) || (FALSE.contains(&key.as_str()) && *value == false);
            present.get(key).map_or_else(left_out, |found| {
                holds(value, found)
                    && (!exact || holds(found, value))
                    && (key != "template" || pod_additions(value, found).next().is_none())
            })
        }),
        (Value::Array(wanted), Value::Array(present)) => {
            wanted.len() == present.len() && wanted.iter().zip(present).all(|(one, other)| holds(one, other))
        }
        _ => wanted == present,
    }
}

/// The fields of a pod template's specification that somebody added to those of `wanted`.
fn pod_additions<'a>(wanted: &'a Value, present: &'a Value) -> impl Iterator<Item = &'a String> {
    let there = present["spec"].as_object().into_iter().flat_map(serde_json::Map::keys);
    there.filter(|key| wanted["spec"].get(key.as_str()).is_none() && !POD_DEFAULTS.contains(&key.as_str()))
}

/// What somebody added to lists of `wanted`, somewhere within, or to the specification of its pods, in the form of a merge patch
/// that takes it out: applying takes nothing of others away. None where there is nothing.
pub(crate) fn without_additions(wanted: &Value, present: &Value) -> Option<Value> {
    let (wanted, present) = (wanted.as_object()?, present.as_object()?);
    let lists = wanted.iter().filter_map(|(key, wanted)| {
        let present = present.get(key)?;
        let mut part = if wanted.is_array() {
            has_additions(wanted, present).then(|| wanted.clone())
        } else {
            without_additions(wanted, present)
        };
        if key == "template" {
            for added in pod_additions(wanted, present) {
                part.get_or_insert_with(|| json!({}))["spec"][added] = Value::Null;
            }
        }
        Some((key.clone(), part?))
    });
    let lists: serde_json::Map<_, _> = lists.collect();
    (!lists.is_empty()).then_some(Value::Object(lists))
}

/// Whether a list within `present` has more items than the one of `wanted`.
fn has_additions(wanted: &Value, present: &Value) -> bool {
    match (wanted, present) {
        (Value::Array(wanted), Value::Array(present)) => {
            present.len() > wanted.len()
                || wanted.iter().zip(present).any(|(one, other)| has_additions(one, other))
        }
        (Value::Object(wanted), Value::Object(present)) => wanted
            .iter()
            .any(|(key, value)| present.get(key).is_some_and(|found| has_additions(value, found))),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_fine_and_less_or_other_is_not() {
        let wanted = json!({"spec": {"replicas": 2, "list": [{"name": "a"}], "none": {}}});
        assert!(holds(
            &wanted,
            &json!({"spec": {"replicas": 2, "list": [{"name": "a", "x": 1}], "y": 1}, "status": {}})
        ));
        for present in [
            json!({"spec": {"replicas": 3, "list": [{"name": "a"}]}}),
            json!({"spec": {"list": [{"name": "a"}]}}),
            json!({"spec": {"replicas": 2, "list": []}}),
            json!({"spec": {"replicas": 2, "list": [{"name": "a"}, {"name": "b"}]}}),
        ] {
            assert!(!holds(&wanted, &present), "{present}");
        }
        let selects = |labels: Value| json!({"spec": {"selector": labels}});
        assert!(holds(&selects(json!({"a": "b"})), &selects(json!({"a": "b"}))));
        assert!(!holds(&selects(json!({"a": "b"})), &selects(json!({"a": "b", "more": "c"}))));
        assert!(!holds(&selects(json!({})), &selects(json!({"more": "c"}))));
    }

    #[test]
    fn a_list_that_was_added_to_is_put_back_as_a_whole() {
        let wanted = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "ports": [{"port": 1}]}], "args": ["x"]}});
        let present = |ports: Value, more: Value| json!({"spec": {"replicas": 2, "containers": [{"name": "a", "ports": ports, "more": 1}], "args": more}});
        assert_eq!(without_additions(&wanted, &wanted), None);
        // What differs otherwise is applied.
        assert_eq!(without_additions(&wanted, &present(json!([{"port": 3}]), json!(["y"]))), None);
        assert_eq!(
            without_additions(&wanted, &present(json!([{"port": 1}, {"port": 2}]), json!(["x"]))),
            Some(json!({"spec": {"containers": wanted["spec"]["containers"]}}))
        );
        assert_eq!(
            without_additions(&wanted, &present(json!([{"port": 1}]), json!(["x", "y"]))),
            Some(json!({"spec": {"args": ["x"]}}))
        );
    }

    #[test]
    fn what_was_added_to_pods_is_taken_out_and_defaults_are_not() {
        let wanted = json!({"spec": {"paused": false, "template": {"spec": {"containers": []}}}});
        let present = |pod: Value| json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": pod}}});
        let plain =
            present(json!({"containers": [], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}));
        assert!(holds(&wanted, &plain) && without_additions(&wanted, &plain).is_none());
        let added = present(json!({"containers": [], "nodeSelector": {"zone": "x"}, "hostNetwork": true}));
        assert!(!holds(&wanted, &added));
        assert_eq!(
            without_additions(&wanted, &added),
            Some(json!({"spec": {"template": {"spec": {"nodeSelector": null, "hostNetwork": null}}}}))
        );
        let mut paused = plain;
        paused["spec"]["paused"] = true.into();
        assert!(!holds(&wanted, &paused));
    }
}

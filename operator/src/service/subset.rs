//! Whether an object in the cluster is as it was applied.

use serde_json::Value;

/// Maps in which one more entry changes what all the others say.
const EXACT: [&str; 3] = ["selector", "podSelector", "matchLabels"];

/// Whether everything that `wanted` says is so in `present`, which may say more: defaults, and fields of others. Selectors may
/// not.
pub(crate) fn holds(wanted: &Value, present: &Value) -> bool {
    match (wanted, present) {
        (Value::Object(wanted), Value::Object(present)) => wanted.iter().all(|(key, value)| {
            // An empty map or list may be left out.
            let exact = EXACT.contains(&key.as_str());
            present.get(key).map_or_else(
                || is_empty(value),
                |found| holds(value, found) && (!exact || holds(found, value)),
            )
        }),
        (Value::Array(wanted), Value::Array(present)) => {
            wanted.len() == present.len() && wanted.iter().zip(present).all(|(one, other)| holds(one, other))
        }
        _ => wanted == present,
    }
}

/// The lists of `wanted` that are longer in `present`, somewhere within, in the form of a merge patch that puts them back: whoever
/// else added to them, applying takes nothing away. None where there are none.
pub(crate) fn shortened(wanted: &Value, present: &Value) -> Option<Value> {
    let (wanted, present) = (wanted.as_object()?, present.as_object()?);
    let lists = wanted.iter().filter_map(|(key, wanted)| {
        let present = present.get(key)?;
        let part = if wanted.is_array() {
            has_additions(wanted, present).then(|| wanted.clone())
        } else {
            shortened(wanted, present)
        };
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
    use serde_json::json;

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
        assert_eq!(shortened(&wanted, &wanted), None);
        // What differs otherwise is applied.
        assert_eq!(shortened(&wanted, &present(json!([{"port": 3}]), json!(["y"]))), None);
        assert_eq!(
            shortened(&wanted, &present(json!([{"port": 1}, {"port": 2}]), json!(["x"]))),
            Some(json!({"spec": {"containers": wanted["spec"]["containers"]}}))
        );
        assert_eq!(
            shortened(&wanted, &present(json!([{"port": 1}]), json!(["x", "y"]))),
            Some(json!({"spec": {"args": ["x"]}}))
        );
    }
}

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
}

//! Strategic merge patches, as far as lists go whose items have a name.

use serde_json::Value;

/// Merges a patch: maps field by field, lists of items with names item by item, all else as a whole. An item with `$patch: delete`
/// goes.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    match (&mut *into, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    fields.remove(key);
                } else {
                    merge(fields.entry(key.clone()).or_insert(Value::Null), change);
                }
            }
        }
        (Value::Array(items), Value::Array(changes))
            if changes.iter().all(|change| change["name"].is_string()) =>
        {
            for change in changes {
                let place = items.iter().position(|item| item["name"] == change["name"]);
                match (place, change["$patch"] == "delete") {
                    (Some(place), true) => drop(items.remove(place)),
                    (Some(place), false) => merge(&mut items[place], change),
                    (None, true) => {}
                    (None, false) => items.push(change.clone()),
                }
            }
        }
        (_, Value::Array(changes)) => {
            let stays = changes.iter().filter(|change| change["$patch"] != "delete");
            *into = stays.cloned().collect();
        }
        _ => *into = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_merged_by_name_and_can_go() {
        let mut object =
            json!({"spec": {"gates": [{"name": "a"}, {"name": "b", "x": 1}], "list": [1, 2], "gone": 1}});
        let patch = json!({"spec": {
            "gates": [{"name": "a", "$patch": "delete"}, {"name": "b", "y": 2}, {"name": "c"}], "list": [3], "gone": null,
            "new": [{"name": "d"}, {"name": "e", "$patch": "delete"}],
        }});
        merge(&mut object, &patch);
        assert_eq!(
            object,
            json!({"spec": {"gates": [{"name": "b", "x": 1, "y": 2}, {"name": "c"}], "list": [3], "new": [{"name": "d"}]}})
        );
    }
}

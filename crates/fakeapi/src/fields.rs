//! Fields of objects by their paths, which is what managers own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// The item of a list whose field `by` has this value; with an empty `by`, the item that is the value.
    Item {
        by: &'static str,
        value: String,
    },
}

pub(crate) type Path = Vec<Step>;

/// Metadata that nobody owns.
const UNOWNED: [&str; 11] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Everything in an object that somebody can own, with the values.
pub(crate) fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|field, _| field != "apiVersion" && field != "kind");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !UNOWNED.contains(&field.as_str()));
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    let mut found = BTreeMap::new();
    if object.as_object().is_some_and(|fields| !fields.is_empty()) {
        walk(&mut Vec::new(), &object, &mut found);
    }
    found
}

fn walk(path: &mut Path, value: &Value, found: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                walk(path, value, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match identities(path, items) {
            Some(identities) => {
                for (step, item) in identities.into_iter().zip(items) {
                    path.push(step);
                    walk(path, item, found);
                    path.pop();
                }
            }
            None => _ = found.insert(path.clone(), value.clone()),
        },
        leaf => _ = found.insert(path.clone(), leaf.clone()),
    }
}

/// The steps to the items of a list that is merged item by item; `None` for other lists.
fn identities(path: &[Step], items: &[Value]) -> Option<Vec<Step>> {
    let [Step::Field(parent), Step::Field(list)] = path else { return None };
    let by = match (parent.as_str(), list.as_str()) {
        ("status", "conditions") => "type",
        ("metadata", "ownerReferences") => "uid",
        ("metadata", "finalizers") => "",
        _ => return None,
    };
    items.iter().map(|item| Some(Step::Item { by, value: identity(item, by)?.to_owned() })).collect()
}

fn identity<'a>(item: &'a Value, by: &str) -> Option<&'a str> {
    if by.is_empty() { item.as_str() } else { item[by].as_str() }
}

fn position(items: &[Value], by: &str, value: &str) -> Option<usize> {
    items.iter().position(|item| identity(item, by) == Some(value))
}

pub(crate) fn get<'a>(at: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(at, |at, step| match step {
        Step::Field(name) => at.get(name),
        Step::Item { by, value } => {
            let items = at.as_array()?;
            items.get(position(items, by, value)?)
        }
    })
}

pub(crate) fn set(at: &mut Value, path: &[Step], leaf: &Value) {
    match path.split_first() {
        None if is_empty_object(leaf) && at.is_object() => {}
        None => *at = leaf.clone(),
        Some((Step::Field(name), rest)) => {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            set(&mut at[name.as_str()], rest, leaf);
        }
        Some((Step::Item { by, value }, rest)) => {
            if !at.is_array() {
                *at = json!([]);
            }
            if let Value::Array(items) = at {
                let index = position(items, by, value).unwrap_or_else(|| {
                    items.push(if by.is_empty() { json!(value) } else { json!({ *by: value }) });
                    items.len() - 1
                });
                set(&mut items[index], rest, leaf);
            }
        }
    }
}

/// Whether a value is an object without fields, which any object satisfies.
pub(crate) fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Removes fields, and what is empty without them.
pub(crate) fn remove<'a>(object: &mut Value, paths: impl Iterator<Item = &'a Path>) {
    // An item is found by its key, which therefore goes last.
    let is_key = |path: &Path| match path.as_slice() {
        [.., Step::Item { by, .. }, Step::Field(name)] => name == by,
        _ => false,
    };
    let (keys, others): (Vec<_>, Vec<_>) = paths.partition(|path| is_key(path));
    for path in others.into_iter().chain(keys) {
        remove_one(object, path);
    }
}

fn remove_one(at: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    let child = match (step, &mut *at) {
        (Step::Field(name), Value::Object(fields)) => fields.get_mut(name),
        (Step::Item { by, value }, Value::Array(items)) => {
            position(items, by, value).map(|index| &mut items[index])
        }
        _ => None,
    };
    let Some(child) = child else { return };
    remove_one(child, rest);
    let empty = match child {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if !empty && !rest.is_empty() {
        return;
    }
    match (step, at) {
        (Step::Field(name), Value::Object(fields)) => _ = fields.remove(name),
        (Step::Item { by, value }, Value::Array(items)) => {
            // The key of an item that is empty now went with the last of its fields.
            items.retain(|item| !is_empty_object(item) && identity(item, by) != Some(value));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": {"name": "a", "uid": "1", "labels": {"x": "y"}, "finalizers": ["f", "g"]},
            "spec": {"list": [{"a": 1}], "empty": {}, "n": 3},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Planned", "status": "False"},
            ]},
        })
    }

    #[test]
    fn what_leaves_say_can_be_rebuilt() {
        let leaves = leaves(&object());
        assert_eq!(leaves.len(), 10);
        let mut rebuilt = json!({
            "apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "uid": "1"},
        });
        for (path, value) in &leaves {
            assert_eq!(get(&object(), path), Some(value), "{path:?}");
            set(&mut rebuilt, path, value);
        }
        // Items come in the order of their keys.
        rebuilt["status"]["conditions"].as_array_mut().unwrap().reverse();
        assert_eq!(rebuilt, object());
    }

    #[test]
    fn what_is_removed_leaves_nothing_empty() {
        let mut rest = object();
        let leaves = leaves(&object());
        let of_ready =
            |path: &&Path| path.iter().any(|step| *step == Step::Item { by: "type", value: "Ready".into() });
        remove(&mut rest, leaves.keys().filter(of_ready));
        assert_eq!(rest["status"]["conditions"], json!([{"type": "Planned", "status": "False"}]));
        remove(&mut rest, leaves.keys());
        assert_eq!(rest, json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "uid": "1"}}));
    }
}

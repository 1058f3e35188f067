//! Server-side apply: who owns which field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::answer::Refused;
use crate::fields::{Path, get, is_empty_object, leaves, remove, set};

/// Who sets fields. One that applies and one that writes otherwise are two, as are those of subresources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub name: String,
    pub applies: bool,
    pub subresource: String,
}

/// The owners of an object's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owners(BTreeMap<Manager, BTreeSet<Path>>);

impl Owners {
    /// The owners after a write that is not an apply: who changes a field owns it alone.
    pub fn written(&self, manager: &Manager, old: &Value, new: &Value) -> Self {
        let (old, new) = (leaves(old), leaves(new));
        let changed: BTreeSet<Path> = new
            .iter()
            .filter(|(path, value)| old.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        let mut owners = self.clone();
        for owned in owners.0.values_mut() {
            owned.retain(|path| new.contains_key(path) && !changed.contains(path));
        }
        owners.0.entry(manager.clone()).or_default().extend(changed);
        owners.without_empty()
    }

    fn without_empty(mut self) -> Self {
        self.0.retain(|_, owned| !owned.is_empty());
        self
    }

    fn others_own(&self, path: &Path) -> Option<&Manager> {
        self.0.iter().find(|(_, owned)| owned.contains(path)).map(|(manager, _)| manager)
    }
}

/// The object after an apply: the applied fields have the applied values, and those that this manager alone owned and
/// does not send any more are gone.
pub(crate) fn apply(
    body: &Value,
    owners: &Owners,
    manager: &Manager,
    applied: &Value,
    force: bool,
) -> Result<(Value, Owners), Refused> {
    let wanted = leaves(applied);
    let (mut body, mut owners) = (body.clone(), owners.clone());
    let before = owners.0.remove(manager).unwrap_or_default();
    for (path, value) in &wanted {
        let differs = get(&body, path)
            .is_some_and(|current| current != value && !(is_empty_object(value) && current.is_object()));
        if !differs {
            continue;
        }
        if let Some(other) = owners.others_own(path)
            && !force
        {
            return Err(Refused::conflict(format!(
                "Apply failed with 1 conflict: conflict with \"{}\": {path:?}",
                other.name
            )));
        }
        for owned in owners.0.values_mut() {
            owned.remove(path);
        }
    }
    let gone = before.iter().filter(|path| !wanted.contains_key(*path) && owners.others_own(path).is_none());
    remove(&mut body, gone);
    for (path, value) in &wanted {
        set(&mut body, path, value);
    }
    owners.0.insert(manager.clone(), wanted.into_keys().collect());
    Ok((body, owners.without_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manager(name: &str) -> Manager {
        Manager { name: name.into(), applies: true, subresource: String::new() }
    }

    #[test]
    fn fields_go_when_their_last_owner_drops_them() {
        let (a, b) = (manager("a"), manager("b"));
        let first = json!({"spec": {"x": 1, "y": {"z": 2}}});
        let (body, owners) = apply(&json!({}), &Owners::default(), &a, &first, false).unwrap();
        let (body, owners) = apply(&body, &owners, &b, &json!({"spec": {"x": 1}}), false).unwrap();
        let (body, owners) = apply(&body, &owners, &a, &json!({}), false).unwrap();
        assert_eq!(body, json!({"spec": {"x": 1}}), "b still owns it");
        let (body, _) = apply(&body, &owners, &b, &json!({}), false).unwrap();
        assert_eq!(body, json!({}));
    }

    #[test]
    fn another_value_needs_force_and_takes_the_field() {
        let (a, b) = (manager("a"), manager("b"));
        let (body, owners) =
            apply(&json!({}), &Owners::default(), &a, &json!({"spec": {"x": 1}}), false).unwrap();
        let two = json!({"spec": {"x": 2}});
        assert_eq!(apply(&body, &owners, &b, &two, false).unwrap_err().code, 409);
        let (body, owners) = apply(&body, &owners, &b, &two, true).unwrap();
        let (body, _) = apply(&body, &owners, &a, &json!({}), false).unwrap();
        assert_eq!(body, two, "a has lost it and cannot take it away");
    }

    #[test]
    fn who_writes_a_field_takes_it() {
        let (a, scaler) = (manager("a"), Manager { applies: false, ..manager("scaler") });
        let one = json!({"spec": {"replicas": 1, "x": 1}});
        let (body, owners) = apply(&json!({}), &Owners::default(), &a, &one, false).unwrap();
        let scaled = json!({"spec": {"replicas": 5, "x": 1}});
        let owners = owners.written(&scaler, &body, &scaled);
        let (body, owners) = apply(&scaled, &owners, &a, &json!({"spec": {"x": 1}}), false).unwrap();
        assert_eq!(body, scaled);
        assert_eq!(apply(&body, &owners, &a, &one, false).unwrap_err().code, 409);
    }

    #[test]
    fn an_object_in_place_of_an_empty_one_stays() {
        let a = manager("a");
        let (body, owners) =
            apply(&json!({}), &Owners::default(), &a, &json!({"spec": {"v": {}}}), false).unwrap();
        let full = json!({"spec": {"v": {"w": 1}}});
        let (body, owners) = apply(&body, &owners, &a, &full, false).unwrap();
        assert_eq!(body, full);
        let (body, _) = apply(&body, &owners, &a, &json!({"spec": {"v": {}}}), false).unwrap();
        assert_eq!(body, json!({"spec": {"v": {}}}));
    }
}

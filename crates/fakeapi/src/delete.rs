//! Deletion, with finalizers, and of what lost its owners.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::answer::Refused;
use crate::call::Call;
use crate::meta;
use crate::selector::Selector;
use crate::store::{Store, now};
use crate::target::Key;

impl Store {
    pub fn delete(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        let key = call.target.key(call.name());
        let stored = self.objects.get(&key).ok_or_else(|| Refused::not_found(&key.name))?;
        meta::precondition(&stored.body, &json!({ "metadata": call.body["preconditions"] }))?;
        if call.body["propagationPolicy"] == "Orphan" {
            self.orphan(&key)?;
        }
        let body = self.delete_key(&key)?;
        let pending = self.objects.contains_key(&key);
        Ok((
            200,
            if pending { body } else { json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}) },
        ))
    }

    pub fn delete_collection(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        let selector = Selector::of(call)?;
        let chosen: Vec<Key> = self
            .objects
            .iter()
            .filter(|(key, stored)| call.target.covers(key) && selector.matches(&stored.body))
            .map(|(key, _)| key.clone())
            .collect();
        for key in chosen {
            // The deletion of another may have taken it along.
            if self.objects.contains_key(&key) {
                self.delete_key(&key)?;
            }
        }
        Ok((200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})))
    }

    /// Removes an object, or marks it when finalizers hold it.
    fn delete_key(&mut self, key: &Key) -> Result<Value, Refused> {
        let mut stored = self.objects.get(key).cloned().ok_or_else(|| Refused::not_found(&key.name))?;
        if meta::finalizers(&stored.body).is_empty() {
            return Ok(self.remove(key, stored.body));
        }
        if !meta::is_deleting(&stored.body) {
            let generation = stored.body["metadata"]["generation"].as_u64();
            let fields = meta::metadata(&mut stored.body)?;
            fields.insert("deletionTimestamp".into(), json!(now()));
            fields.insert("deletionGracePeriodSeconds".into(), json!(0));
            if let Some(generation) = generation {
                fields.insert("generation".into(), json!(generation + 1));
            }
        }
        self.update(key.clone(), stored)
    }

    fn orphan(&mut self, owner: &Key) -> Result<(), Refused> {
        let uid = self.objects.get(owner).map(|stored| stored.body["metadata"]["uid"].clone());
        for (key, mut stored) in self.objects.clone() {
            let fields = meta::metadata(&mut stored.body)?;
            if let Some(owners) = fields.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                owners.retain(|reference| Some(&reference["uid"]) != uid.as_ref());
                self.update(key, stored)?;
            }
        }
        Ok(())
    }

    /// Deletes what has owners none of which is there. The real API does so a little later.
    pub fn collect(&mut self) {
        let uids: BTreeSet<&str> =
            self.objects.values().map(|stored| meta::text(&stored.body, "uid")).collect();
        let lost = self.objects.iter().find(|(_, stored)| {
            let held = meta::is_deleting(&stored.body) && !meta::finalizers(&stored.body).is_empty();
            let owners = stored.body["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
            let gone = |owner: &Value| owner["uid"].as_str().is_none_or(|uid| !uids.contains(uid));
            !held && !owners.is_empty() && owners.iter().all(gone)
        });
        // Each deletion comes back here until none is left.
        if let Some(key) = lost.map(|(key, _)| key.clone()) {
            let _ = self.delete_key(&key);
        }
    }
}

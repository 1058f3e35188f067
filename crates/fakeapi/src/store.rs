//! The objects, and the log of their changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::Access;
use crate::answer::Refused;
use crate::apply::Owners;
use crate::call::Verb;
use crate::meta;
use crate::scale::ScalePaths;
use crate::target::{Key, Resource};

/// Changes that are kept for watches; older ones have expired.
const LOG: usize = 10_000;

/// A request that was to change something and reached the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What it was to do.
    pub verb: Verb,
    /// Its path, without the query.
    pub path: String,
    /// Who managed the fields.
    pub manager: Option<String>,
    /// The status code of its answer.
    pub code: u16,
    /// Whether anything is different since.
    pub changed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub body: Value,
    pub owners: Owners,
}

/// A change of an object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub revision: u64,
    pub key: Key,
    pub old: Option<Value>,
    /// For a deletion, the object as it was last, with the deletion's revision.
    pub new: Value,
    pub deleted: bool,
}

/// What wakes watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signal {
    pub revision: u64,
    /// How often all watches have been cut off.
    pub cuts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub objects: BTreeMap<Key, Stored>,
    pub revision: u64,
    ids: u64,
    pub log: VecDeque<Change>,
    /// Watches from before this revision have expired.
    pub floor: u64,
    pub signal: watch::Sender<Signal>,
    pub writes: Vec<Write>,
    /// Groups that are not served.
    pub missing: BTreeSet<String>,
    pub scales: BTreeMap<Resource, ScalePaths>,
    pub access: Access,
}

impl Store {
    /// Adds an object that is not there.
    pub fn insert(&mut self, key: Key, mut new: Stored) -> Result<Value, Refused> {
        let id = self.next_id();
        let has_spec = new.body.get("spec").is_some();
        let fields = meta::metadata(&mut new.body)?;
        fields.insert("name".into(), json!(key.name));
        if !key.namespace.is_empty() {
            fields.insert("namespace".into(), json!(key.namespace));
        }
        fields.insert("uid".into(), json!(format!("00000000-0000-4000-8000-{id:012x}")));
        fields.insert("creationTimestamp".into(), json!(now()));
        if has_spec {
            fields.insert("generation".into(), json!(1));
        }
        Ok(self.record(key, None, new))
    }

    /// Stores an object anew, if it differs; one that is being deleted goes with its last finalizer.
    pub fn update(&mut self, key: Key, mut new: Stored) -> Result<Value, Refused> {
        let Some(old) = self.objects.get(&key) else { return Err(Refused::not_found(&key.name)) };
        if *old == new {
            return Ok(new.body);
        }
        let old = old.body.clone();
        if meta::desire_changed(&old, &new.body) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
            meta::metadata(&mut new.body)?.insert("generation".into(), json!(generation));
        }
        if meta::is_deleting(&new.body) && meta::finalizers(&new.body).is_empty() {
            return Ok(self.remove(&key, new.body));
        }
        Ok(self.record(key, Some(old), new))
    }

    fn record(&mut self, key: Key, old: Option<Value>, mut new: Stored) -> Value {
        let revision = self.next_revision();
        new.body["metadata"]["resourceVersion"] = json!(revision.to_string());
        let body = new.body.clone();
        self.objects.insert(key.clone(), new);
        self.tell(Change { revision, key, old, new: body.clone(), deleted: false });
        self.collect();
        body
    }

    /// Takes an object out; `last` is how it looked then.
    pub fn remove(&mut self, key: &Key, mut last: Value) -> Value {
        let old = self.objects.remove(key).map(|stored| stored.body);
        let revision = self.next_revision();
        last["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.tell(Change { revision, key: key.clone(), old, new: last.clone(), deleted: true });
        self.collect();
        last
    }

    fn tell(&mut self, change: Change) {
        let revision = change.revision;
        if self.log.len() == LOG {
            self.floor = self.log.pop_front().map_or(self.floor, |oldest| oldest.revision);
        }
        self.log.push_back(change);
        self.signal.send_modify(|signal| signal.revision = revision);
    }

    /// Forgets all changes, so that every watch has expired.
    pub fn expire(&mut self) {
        self.floor = self.next_revision();
        self.log.clear();
        self.signal.send_modify(|signal| signal.revision = self.floor);
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// A number that no other object has.
    pub fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

/// This second.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

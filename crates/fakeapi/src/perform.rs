//! Requests, carried out.

use serde_json::{Value, json};

use crate::answer::{Refused, metadata_of};
use crate::call::{Call, Verb};
use crate::selector::Selector;
use crate::store::{Store, Write};

impl Store {
    /// Carries out any request but a watch. `recorded` ones are among the writes afterwards.
    pub fn perform(&mut self, call: &Call, recorded: bool) -> Result<(u16, Value), Refused> {
        let before = self.revision;
        let answer = self.act(call);
        if recorded && !call.verb.reads() {
            self.writes.push(Write {
                verb: call.verb,
                path: call.path.clone(),
                manager: call.manager.clone(),
                code: answer.as_ref().map_or_else(|refused| refused.code, |(code, _)| *code),
                changed: self.revision != before,
            });
        }
        answer
    }

    fn act(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        self.check_served(call)?;
        match call.verb {
            Verb::Get => self.read(call),
            Verb::List | Verb::Watch => self.list(call),
            Verb::Create => self.create(call),
            Verb::Replace | Verb::Apply | Verb::Patch => self.edit(call),
            Verb::Delete => self.delete(call),
            Verb::DeleteCollection => self.delete_collection(call),
        }
    }

    pub fn check_served(&self, call: &Call) -> Result<(), Refused> {
        if self.missing.contains(&call.target.resource.group) {
            return Err(Refused::unknown_path(&call.path));
        }
        Ok(())
    }

    fn read(&self, call: &Call) -> Result<(u16, Value), Refused> {
        let key = call.target.key(call.name());
        let body = &self.objects.get(&key).ok_or_else(|| Refused::not_found(&key.name))?.body;
        match call.target.subresource.as_str() {
            "" | "status" if call.metadata_only => Ok((200, metadata_of(body))),
            "" | "status" => Ok((200, body.clone())),
            "scale" => Ok((200, self.scale_of(call, body))),
            _ => Err(Refused::unknown_path(&call.path)),
        }
    }

    fn list(&self, call: &Call) -> Result<(u16, Value), Refused> {
        let items = self.selected(call)?;
        let kind = match items.first() {
            _ if call.metadata_only => "PartialObjectMetadataList".to_owned(),
            Some(item) => format!("{}List", item["kind"].as_str().unwrap_or_default()),
            None => "List".to_owned(),
        };
        let api_version =
            if call.metadata_only { "meta.k8s.io/v1".into() } else { call.target.api_version() };
        let metadata = json!({"resourceVersion": self.revision.to_string()});
        Ok((200, json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})))
    }

    /// The objects that a list or a watch begins with.
    pub fn selected(&self, call: &Call) -> Result<Vec<Value>, Refused> {
        let selector = Selector::of(call)?;
        let found = self
            .objects
            .iter()
            .filter(|(key, stored)| call.target.covers(key) && selector.matches(&stored.body))
            .map(
                |(_, stored)| {
                    if call.metadata_only { metadata_of(&stored.body) } else { stored.body.clone() }
                },
            );
        Ok(found.collect())
    }
}

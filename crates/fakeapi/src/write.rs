//! Writes of single objects.

use serde_json::{Value, json};

use crate::answer::Refused;
use crate::apply::{Manager, Owners, apply};
use crate::call::{Call, Verb};
use crate::meta;
use crate::store::{Store, Stored};
use crate::strategic;

impl Store {
    pub fn create(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        if let Some(review) = self.access.review(call) {
            return Ok((201, review));
        }
        if call.target.name.is_some() {
            return Err(Refused::unknown_path(&call.path));
        }
        let mut body = call.body.clone();
        if !meta::text(&body, "resourceVersion").is_empty() {
            return Err(Refused::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let mut name = meta::text(&body, "name").to_owned();
        if name.is_empty() {
            let prefix = meta::text(&body, "generateName");
            if prefix.is_empty() {
                return Err(Refused::invalid(
                    "metadata.name: Required value: name or generateName is required",
                ));
            }
            name = format!("{prefix}{:05x}", self.next_id());
        }
        let key = call.target.key(&name);
        if self.objects.contains_key(&key) {
            return Err(Refused::new(409, "AlreadyExists", format!("\"{name}\" already exists")));
        }
        let said = meta::text(&body, "namespace");
        if !said.is_empty() && said != key.namespace {
            return Err(Refused::bad_request("the namespace of the object is not that of the path"));
        }
        confine("", &json!({}), &mut body);
        meta::keep(&json!({"metadata": {"name": name}}), &mut body)?;
        let owners = Owners::default().written(&manager(call), &json!({}), &body);
        Ok((201, self.insert(key, Stored { body, owners })?))
    }

    pub fn edit(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        let key = call.target.key(call.name());
        let subresource = call.target.subresource.as_str();
        if !matches!(subresource, "" | "status" | "scale") {
            return Err(Refused::unknown_path(&call.path));
        }
        if call.verb == Verb::Apply && call.manager.is_none() {
            return Err(Refused::bad_request("fieldManager is required for apply patch"));
        }
        let Some(old) = self.objects.get(&key) else {
            return match (call.verb, subresource) {
                (Verb::Apply, "") => self.create_applied(call),
                _ => Err(Refused::not_found(&key.name)),
            };
        };
        let (mut body, owners);
        if call.verb == Verb::Apply && subresource != "scale" {
            meta::precondition(&old.body, &call.body)?;
            let mut applied = call.body.clone();
            confine(subresource, &json!({}), &mut applied);
            (body, owners) = apply(&old.body, &old.owners, &manager(call), &applied, call.flag("force"))?;
            meta::keep(&old.body, &mut body)?;
        } else {
            let scale = (subresource == "scale")
                .then(|| self.scales.get(&call.target.resource).cloned().unwrap_or_default());
            let view = scale.as_ref().map_or_else(|| old.body.clone(), |scale| scale.view(&old.body));
            body = patched(call, view)?;
            meta::precondition(&old.body, &body)?;
            match &scale {
                Some(scale) => body = scale.scaled(&old.body, &body)?,
                None => confine(subresource, &old.body, &mut body),
            }
            meta::keep(&old.body, &mut body)?;
            owners = old.owners.written(&manager(call), &old.body, &body);
        }
        let body = self.update(key, Stored { body, owners })?;
        let scale = (subresource == "scale").then(|| self.scale_of(call, &body));
        Ok((200, scale.unwrap_or(body)))
    }

    pub fn scale_of(&self, call: &Call, object: &Value) -> Value {
        self.scales.get(&call.target.resource).cloned().unwrap_or_default().view(object)
    }

    fn create_applied(&mut self, call: &Call) -> Result<(u16, Value), Refused> {
        for field in ["uid", "resourceVersion"] {
            if !meta::text(&call.body, field).is_empty() {
                return Err(Refused::conflict(format!("an object that is not there has no {field}")));
            }
        }
        let key = call.target.key(call.name());
        let mut applied = call.body.clone();
        confine("", &json!({}), &mut applied);
        let start = json!({"apiVersion": applied["apiVersion"], "kind": applied["kind"], "metadata": {}});
        let (body, owners) = apply(&start, &Owners::default(), &manager(call), &applied, false)?;
        Ok((201, self.insert(key, Stored { body, owners })?))
    }
}

fn manager(call: &Call) -> Manager {
    Manager {
        name: call.manager.clone().unwrap_or_else(|| "unknown".into()),
        applies: call.verb == Verb::Apply,
        subresource: call.target.subresource.clone(),
    }
}

/// What a request makes of an object.
fn patched(call: &Call, view: Value) -> Result<Value, Refused> {
    let mut view = view;
    match call.content_type.as_str() {
        _ if call.verb == Verb::Replace => return Ok(call.body.clone()),
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_value(call.body.clone())
                .map_err(|error| Refused::bad_request(error.to_string()))?;
            json_patch::patch(&mut view, &patch).map_err(|error| Refused::invalid(error.to_string()))?;
        }
        "application/strategic-merge-patch+json" => strategic::merge(&mut view, &call.body),
        "application/merge-patch+json" | "application/apply-patch+yaml" => {
            json_patch::merge(&mut view, &call.body);
        }
        other => return Err(Refused::new(415, "UnsupportedMediaType", format!("no patches of {other}"))),
    }
    Ok(view)
}

/// Takes the status from `old`, or for the subresource `status` everything else.
fn confine(subresource: &str, old: &Value, new: &mut Value) {
    let (mut kept, taken) = (new.clone(), old.get("status"));
    let (base, status) =
        if subresource == "status" { (old.clone(), new.get("status")) } else { (kept.take(), taken) };
    let status = status.cloned();
    *new = base;
    if let Some(fields) = new.as_object_mut() {
        match status {
            Some(status) => _ = fields.insert("status".into(), status),
            None => _ = fields.remove("status"),
        }
    }
}

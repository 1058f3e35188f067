//! Metadata that the API itself keeps.

use serde_json::{Map, Value, json};

use crate::answer::Refused;

/// Fields of metadata that requests cannot change.
const KEPT: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// A field of metadata as text; empty where it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether the object waits for its finalizers.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some()
}

/// The finalizers that are left.
pub(crate) fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

/// The metadata of an object, to change it.
pub(crate) fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Refused> {
    let fields =
        object.as_object_mut().ok_or_else(|| Refused::bad_request("the object is no JSON object"))?;
    fields
        .entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| Refused::bad_request("the metadata is no JSON object"))
}

/// Checks what a request says of its object's identity against what is stored.
pub(crate) fn precondition(old: &Value, said: &Value) -> Result<(), Refused> {
    for field in ["resourceVersion", "uid"] {
        if !text(said, field).is_empty() && text(said, field) != text(old, field) {
            let message = format!(
                "the object has been modified: its {field} is {}; please apply your changes to the latest version",
                text(old, field)
            );
            return Err(Refused::conflict(message));
        }
    }
    for field in ["name", "namespace"] {
        if !text(said, field).is_empty() && text(said, field) != text(old, field) {
            return Err(Refused::bad_request(format!("the {field} of the object is not that of the path")));
        }
    }
    Ok(())
}

/// Takes over what a request cannot change.
pub(crate) fn keep(old: &Value, new: &mut Value) -> Result<(), Refused> {
    let fields = metadata(new)?;
    fields.remove("managedFields");
    for field in KEPT {
        match old["metadata"].get(field) {
            Some(value) => fields.insert(field.into(), value.clone()),
            None => fields.remove(field),
        };
    }
    for field in ["apiVersion", "kind"] {
        if new.get(field).is_none() {
            new[field] = old[field].clone();
        }
    }
    if is_deleting(old) && finalizers(new).iter().any(|one| !finalizers(old).contains(one)) {
        return Err(Refused::invalid(
            "metadata.finalizers: no new finalizers can be added if the object is being deleted",
        ));
    }
    Ok(())
}

/// Whether the desired state differs, which is what a generation counts.
pub(crate) fn desire_changed(old: &Value, new: &Value) -> bool {
    let relevant = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields
                .retain(|field, _| !matches!(field.as_str(), "metadata" | "status" | "apiVersion" | "kind"));
        }
        object
    };
    new.get("spec").is_some() && relevant(old) != relevant(new)
}

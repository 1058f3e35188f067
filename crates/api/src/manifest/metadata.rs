//! What may stand around the spec.

use serde_json::{Value, json};

use crate::{GROUP, KIND, VERSION};

/// The schema of a whole manifest around the schema of its spec. A name is short, begins with a letter and has no dots,
/// because the names of pods and Services are made from it; whatever the API server writes is let through, so that a manifest that was read
/// from a cluster can be checked.
pub fn around(spec: &Value) -> Value {
    let label = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
    let name = "^[a-z]([a-z0-9-]*[a-z0-9])?$";
    let texts = json!({"type": "object", "maxProperties": 256, "additionalProperties": {"type": "string"}});
    let any = json!({});
    json!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string", "enum": [format!("{GROUP}/{VERSION}")]},
            "kind": {"type": "string", "enum": [KIND]},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 40, "pattern": name},
                    "namespace": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": label},
                    "labels": texts,
                    "annotations": texts,
                    "creationTimestamp": any, "deletionGracePeriodSeconds": any, "deletionTimestamp": any,
                    "finalizers": any, "generation": any, "managedFields": any, "ownerReferences": any,
                    "resourceVersion": any, "selfLink": any, "uid": any,
                },
            },
            "spec": spec,
            "status": any,
        },
    })
}

//! The `scale` subresource.

use serde_json::{Value, json};

use crate::answer::Refused;
use crate::meta;

/// Where an object has what its scale says, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub wanted: String,
    pub present: String,
    pub selector: Option<String>,
}

impl Default for ScalePaths {
    fn default() -> Self {
        Self { wanted: "/spec/replicas".into(), present: "/status/replicas".into(), selector: None }
    }
}

impl ScalePaths {
    /// The scale of an object.
    pub fn view(&self, object: &Value) -> Value {
        let count = |pointer: &str| object.pointer(pointer).cloned().unwrap_or(json!(0));
        let selector = match &self.selector {
            Some(pointer) => object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned(),
            None => labels(&object["spec"]["selector"]["matchLabels"]),
        };
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {
                "name": meta::text(object, "name"), "namespace": meta::text(object, "namespace"),
                "uid": meta::text(object, "uid"), "resourceVersion": meta::text(object, "resourceVersion"),
            },
            "spec": {"replicas": count(&self.wanted)},
            "status": {"replicas": count(&self.present), "selector": selector},
        })
    }

    /// The object with the number that its scale asks for.
    pub fn scaled(&self, object: &Value, scale: &Value) -> Result<Value, Refused> {
        let wanted = scale["spec"]["replicas"].as_i64().filter(|count| *count >= 0);
        let wanted = wanted.ok_or_else(|| Refused::invalid("spec.replicas: must be a number, 0 or more"))?;
        let mut object = object.clone();
        let mut at = &mut object;
        for field in self.wanted.trim_start_matches('/').split('/') {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[field];
        }
        *at = json!(wanted);
        Ok(object)
    }
}

fn labels(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

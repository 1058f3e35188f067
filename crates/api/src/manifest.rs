//! Reads manifests and tells everything that is wrong with them.

mod check;
mod error;
mod metadata;
mod pod_rules;
pub(crate) mod rules;
mod tree;

pub use error::{FieldError, FieldErrors};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::AMPDService;
use check::Checker;
use rules::{Sections, Violation};
use tree::Node;

/// Largest manifest, bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads a manifest: YAML or JSON of one `AMPDService`. What it does not say gets its default.
///
/// # Errors
/// Everything that is wrong: fields that do not exist, are missing, of another type or out of their bounds, and rules
/// between fields. Where the text itself cannot be read, that alone.
pub fn parse(text: &[u8]) -> Result<AMPDService, FieldErrors> {
    let whole = |line, what: String| FieldErrors(vec![FieldError { field: String::new(), line, what }]);
    if text.len() > MAX_BYTES {
        return Err(whole(None, format!("has {} bytes, at most {MAX_BYTES} are read", text.len())));
    }
    let node: Node = serde_saphyr::from_slice(text).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        whole(line, error.without_snippet().to_string())
    })?;

    let mut checker = Checker::default();
    let right = checker.check(&metadata::around(&spec_schema()), &node, "").unwrap_or_default();
    let unreadable = checker.errors.len();
    for Violation { field, reads, what } in rules::violations(&sections(&right["spec"])) {
        // What could not be read stands in the sections with its default: a rule that reads it says nothing.
        let read = |error: &FieldError| reads.iter().any(|read| overlap(&error.field, read));
        if !checker.errors[..unreadable].iter().any(read) {
            checker.wrong(&field, node.line_of(&field), what);
        }
    }
    let mut errors = checker.errors;
    if errors.is_empty() {
        return serde_json::from_value(right).map_err(|error| whole(None, error.to_string()));
    }
    errors.sort_by_key(|error| error.line);
    Err(FieldErrors(errors))
}

/// Whether one of two fields is the other, or within it.
fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
}

/// The schema of the spec as the API server has it.
fn spec_schema() -> Value {
    let versions = crate::crd().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema?.open_api_v3_schema);
    let properties = schema.and_then(|schema| schema.properties).unwrap_or_default();
    serde_json::to_value(properties.get("spec")).unwrap_or_default()
}

/// The parts that can be read; the others have their defaults.
fn sections(spec: &Value) -> Sections {
    fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
        serde_json::from_value(value.clone()).ok()
    }
    Sections {
        source: read(&spec["model"]["source"]),
        cache: read(&spec["model"]["cache"]).unwrap_or_default(),
        slo: read(&spec["slo"]).unwrap_or_default(),
        accelerator: read(&spec["accelerator"]),
        prefill: read(&spec["prefill"]).unwrap_or_default(),
        decode: read(&spec["decode"]).unwrap_or_default(),
        routing: read(&spec["routing"]).unwrap_or_default(),
        sessions: read(&spec["sessions"]).unwrap_or_default(),
        drain: read(&spec["drain"]).unwrap_or_default(),
        workload: read(&spec["workload"]).unwrap_or_default(),
        planner: read(&spec["planner"]).unwrap_or_default(),
        security: read(&spec["security"]).unwrap_or_default(),
    }
}

//! A request, understood.

use std::collections::BTreeMap;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Uri};
use serde_json::Value;

use crate::answer::Refused;
use crate::target::Target;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads an object.
    Get,
    /// Reads all objects.
    List,
    /// Follows changes.
    Watch,
    /// Makes an object.
    Create,
    /// Replaces an object.
    Replace,
    /// Applies fields of an object.
    Apply,
    /// Changes an object with a patch of another kind.
    Patch,
    /// Deletes an object.
    Delete,
    /// Deletes all objects that are selected.
    DeleteCollection,
}

impl Verb {
    /// Whether it leaves everything as it is.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// A request, as the closure that gives faults sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// Its path, without the query.
    pub path: String,
    /// Who manages the fields that it sets.
    pub manager: Option<String>,
    pub(crate) target: Target,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) content_type: String,
    /// Whether it asks for objects' metadata alone.
    pub(crate) metadata_only: bool,
    pub(crate) body: Value,
}

impl Call {
    pub(crate) fn parse(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Refused> {
        let target = Target::parse(uri.path()).ok_or_else(|| Refused::unknown_path(uri.path()))?;
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header(CONTENT_TYPE).to_owned();
        let watches = query.get("watch").is_some_and(|value| value == "true" || value == "1");
        let verb = match (method, &target.name) {
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::GET, None) if watches => Verb::Watch,
            (&Method::GET, None) => Verb::List,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Replace,
            (&Method::PATCH, Some(_)) if content_type.starts_with("application/apply-patch") => Verb::Apply,
            (&Method::PATCH, Some(_)) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (&Method::DELETE, None) => Verb::DeleteCollection,
            _ => return Err(Refused::new(405, "MethodNotAllowed", "the resource does not do that")),
        };
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Refused::bad_request(error.to_string()))?
        };
        Ok(Self {
            verb,
            path: uri.path().to_owned(),
            manager: query.get("fieldManager").cloned(),
            metadata_only: header(ACCEPT).contains("as=PartialObjectMetadata"),
            target,
            query,
            content_type,
            body,
        })
    }

    /// The name in the path, which the verbs of single objects have.
    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true")
    }
}

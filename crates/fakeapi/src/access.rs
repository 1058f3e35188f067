//! Who is who, and who may do what: reviews of tokens and of access to paths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::call::Call;

#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    /// Users by their tokens.
    pub tokens: BTreeMap<String, String>,
    /// Users with the verbs and paths that they may use.
    pub permitted: BTreeSet<(String, String, String)>,
}

impl Access {
    /// The answer to a review; `None` where the request is something else.
    pub fn review(&self, call: &Call) -> Option<Value> {
        let resource = &call.target.resource;
        let mut review = call.body.clone();
        let spec = &call.body["spec"];
        review["status"] = match (resource.group.as_str(), resource.plural.as_str()) {
            ("authentication.k8s.io", "tokenreviews") => {
                match spec["token"].as_str().and_then(|token| self.tokens.get(token)) {
                    Some(user) => json!({"authenticated": true, "user": {"username": user, "groups": []}}),
                    None => json!({"authenticated": false, "error": "invalid bearer token"}),
                }
            }
            ("authorization.k8s.io", "subjectaccessreviews") => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let asked = &spec["nonResourceAttributes"];
                let asked = (text(&spec["user"]), text(&asked["verb"]), text(&asked["path"]));
                json!({"allowed": self.permitted.contains(&asked)})
            }
            _ => return None,
        };
        Some(review)
    }
}

//! Sessions, and the end of a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How sessions are told apart and how long they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sessions {
    /// Request headers that may name a session, the first one that is there counts. A request without any is recognised
    /// by how its conversation starts.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 1, max = 64), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [schema::no_taken_header()])
    )]
    pub headers: Vec<String>,
    /// How long the KV cache of an idle session is kept, memory permitting.
    #[schemars(schema_with = "schema::ttl")]
    pub ttl: String,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { headers: vec!["x-session-id".into(), "x-dynamo-session-id".into()], ttl: "30m".into() }
    }
}

/// How a worker stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long the rounds that run may go on.
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: String,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: "30s".into() }
    }
}

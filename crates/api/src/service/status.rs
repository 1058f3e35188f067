//! What the operator has seen of a service.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What the operator has seen of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AMPDServiceStatus {
    /// The `metadata.generation` that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, `PrefillReady`, `DecodeReady`, Planned, `SLOMet` and Draining, each with a reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Base address of the OpenAI API within the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The Secret with the API's keys; absent where everybody may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys_secret: Option<String>,
    /// The prefill workers.
    pub prefill: RoleStatus,
    /// The decode workers.
    pub decode: RoleStatus,
    /// Accelerators of nodes that the service's pods have.
    pub gpus: i32,
    /// The measured share of rounds that met the objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloStatus>,
    /// The revision of what cannot change in place, such as the model, that the Service points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// Decode pods that take no new sessions because they are to go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "atomic"))]
    pub draining: Vec<String>,
}

/// The workers of one role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleStatus {
    /// How many there are to be.
    pub desired: i32,
    /// Pods of the revision that serves.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Ready and desired pods, `2/2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Selects these pods, for the scale subresource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// The measured share of rounds that met the objectives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SloStatus {
    /// Of both objectives, percent with one decimal. Rounds that failed or were turned away count as missed.
    pub attained_percent: String,
    /// Of the time to the first token alone.
    pub ttft_percent: String,
    /// Of the time between tokens alone.
    pub itl_percent: String,
    /// Rounds that ended in the window, but for those that clients took back.
    pub rounds: i64,
    /// How far back they go.
    pub window_seconds: i32,
}

//! The planner, and what it is told of the load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod::KeyRef;
use crate::schema;

/// The planner: how many workers of which parallel degree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Planner {
    /// Whether plans are made, and whether they are carried out.
    pub mode: PlannerMode,
    /// How often a plan is made.
    #[schemars(schema_with = "schema::interval")]
    pub interval: String,
    /// How long a smaller plan must hold before workers go.
    #[schemars(schema_with = "schema::stabilisation")]
    pub stabilisation: String,
    /// A measured performance model, as `ampd profile` writes it; estimated while serving where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<KeyRef>,
}

impl Default for Planner {
    fn default() -> Self {
        Self { mode: PlannerMode::Off, interval: "1m".into(), stabilisation: "10m".into(), profile: None }
    }
}

/// What becomes of plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlannerMode {
    /// None are made: workers are `replicas.min` with the smallest of `tensorParallel`.
    Off,
    /// They are told in the status only.
    Advisory,
    /// They are carried out within the bounds of each role and of the budget.
    Auto,
}

/// What is known of the load beforehand. Measured statistics take its place once there are some.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// New sessions a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sessions_per_minute: Option<i32>,
    /// Rounds of a session, in the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub rounds_per_session: Option<i32>,
    /// Input of a session's first round, tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_485_760))]
    pub first_input_tokens: Option<i32>,
    /// New input of each later round, tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_485_760))]
    pub increment_tokens: Option<i32>,
    /// Output of a round, tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub output_tokens: Option<i32>,
    /// Time from a round's last output to the session's next round: a tool's, a retriever's, a person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::gap")]
    pub gap: Option<String>,
}

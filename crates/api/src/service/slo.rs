//! The objectives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The objectives that rounds are to meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Slo {
    /// Time from a round's arrival to its first output token, initial and later rounds alike.
    #[schemars(schema_with = "schema::ttft")]
    pub ttft: String,
    /// Mean time between the output tokens of a round.
    #[schemars(schema_with = "schema::itl")]
    pub itl: String,
    /// The share of rounds that are to meet both, percent.
    #[schemars(range(min = 1, max = 100))]
    pub target_percent: i32,
}

impl Default for Slo {
    fn default() -> Self {
        Self { ttft: "2s".into(), itl: "100ms".into(), target_percent: 90 }
    }
}

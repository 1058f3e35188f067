//! The accelerators.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The accelerators to run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Accelerator {
    /// The resource that a pod asks for, with its domain.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    )]
    pub resource_name: String,
    /// Labels of the nodes that have them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,
    /// How many the service may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<GpuBudget>,
}

impl Default for Accelerator {
    fn default() -> Self {
        Self { resource_name: "nvidia.com/gpu".into(), node_selector: BTreeMap::new(), budget: None }
    }
}

/// How many accelerators a service may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("self.min <= self.max", "must not be below min", ".max")]))]
pub struct GpuBudget {
    /// At least.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65_536))]
    pub min: i32,
    /// Never more.
    #[schemars(range(min = 1, max = 65_536))]
    pub max: i32,
}

//! The workers of one role.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodOptions;
use crate::schema;

/// The workers of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("!has(self.engine.kvCache) || !has(self.resources.limits) || !('memory' in self.resources.limits) || quantity(self.engine.kvCache).isLessThan(quantity(string(self.resources.limits['memory'])))", "must be below resources.limits.memory: the model needs memory too", ".engine.kvCache")]))]
pub struct Role {
    /// How many workers.
    pub replicas: Replicas,
    /// The numbers of accelerators that one worker may run on. Only 1 runs on CPUs.
    #[schemars(
        length(min = 1, max = 8),
        inner(range(min = 1, max = 64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub tensor_parallel: Vec<i32>,
    /// The engine in each worker.
    pub engine: Engine,
    /// What a worker's container asks for and may use. `ampd local` does not enforce it.
    pub resources: Resources,
    /// What is added to the pods. `ampd local` takes no notice of it.
    pub pod: PodOptions,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            replicas: Replicas::default(),
            tensor_parallel: vec![1],
            engine: Engine::default(),
            resources: Resources::default(),
            pod: PodOptions::default(),
        }
    }
}

/// How many workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("!has(self.max) || self.min <= self.max", "must not be below min", ".max")]))]
pub struct Replicas {
    /// At least, and at the start.
    #[schemars(range(min = 0, max = 1024))]
    pub min: i32,
    /// Never more; as `min` where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1024))]
    pub max: Option<i32>,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { min: 1, max: None }
    }
}

/// The engine in each worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("self.prefillChunk <= self.tokenBudget", "must not be above tokenBudget", ".prefillChunk")]))]
pub struct Engine {
    /// Most tokens of one step, of prefills and decodes together.
    #[schemars(range(min = 1, max = 65_536))]
    pub token_budget: i32,
    /// Most tokens of one prefill in a step.
    #[schemars(range(min = 1, max = 65_536))]
    pub prefill_chunk: i32,
    /// Threads; a fair share of the machine's where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<i32>,
    /// Memory of the KV cache, bytes; a share of the free memory where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub kv_cache: Option<String>,
}

impl Default for Engine {
    /// The engine's own.
    fn default() -> Self {
        Self { token_budget: 512, prefill_chunk: 256, threads: None, kv_cache: None }
    }
}

/// What a container asks for and may use, in Kubernetes' quantities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || !quantity(string(self.requests[name])).isGreaterThan(quantity(string(self.limits[name]))))", "must not be above the limits", ".requests")]))]
pub struct Resources {
    /// What it is sure to get.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, IntOrString>,
    /// What it may use at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, IntOrString>,
}

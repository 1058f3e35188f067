//! What a person may add to the pods of a role: an allow-list, never a pod's whole specification.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema;

/// What is added to the pods of a role.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodOptions {
    /// Annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that the pods run on, besides those of the accelerator.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Rules of placement in Kubernetes' own form, as in a pod's `spec.affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open")]
    pub affinity: Option<Map<String, Value>>,
    /// Priority of the pods over others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
    /// The container runtime, such as `nvidia`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub runtime_class_name: Option<String>,
    /// Environment variables of the worker. Those that begin with `AMPD_` are the operator's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvironmentVariable>,
    /// Volumes that are mounted into the worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "x-kubernetes-validations" = [schema::rule("self.all(one, self.exists_one(other, other.mountPath == one.mountPath))", "must have different mountPaths", "")]))]
    pub volumes: Vec<Volume>,
}

/// A taint that pods bear.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("self.operator == 'Exists' ? !has(self.value) : has(self.key)", "needs a key where operator is Equal, and no value where it is Exists", "")]))]
pub struct Toleration {
    /// The taint's key; every key where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?$"))]
    pub key: Option<String>,
    /// Whether the value must be equal or the key is enough.
    pub operator: TolerationOperator,
    /// The taint's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"))]
    pub value: Option<String>,
    /// The taint's effect; every effect where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long pods stay on a node that gets the taint `NoExecute`; for ever where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are equal.
    #[default]
    Equal,
    /// The key is there.
    Exists,
}

impl TolerationOperator {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::Exists => "Exists",
        }
    }
}

/// What a taint does to pods that do not bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new ones.
    NoSchedule,
    /// No new ones if there is another place.
    PreferNoSchedule,
    /// No new ones, and those that run are evicted.
    NoExecute,
}

impl TaintEffect {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// An environment variable: a value, or a key of a Secret or of a `ConfigMap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule("(has(self.value) ? 1 : 0) + (has(self.secretKeyRef) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0) == 1", "must have exactly one of value, secretKeyRef and configMapKeyRef", ""), schema::rule("!self.name.startsWith('AMPD_') && self.name != 'POD_NAME' && self.name != 'POD_IP'", "must not be POD_NAME or POD_IP, nor begin with AMPD_: those are the operator's", ".name")]))]
pub struct EnvironmentVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// A key of a Secret in the service's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a `ConfigMap` in the service's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or of a `ConfigMap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

/// A volume with its place in the worker: exactly one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(&format!("!self.mountPath.matches('{}')", schema::OWN_FOLDERS), "must not be in a folder of the operator's own: /tmp, /models, /etc/ampd, /var/run/secrets", ".mountPath"), schema::rule(&format!("!self.mountPath.matches('{}')", schema::DOTS), schema::NO_DOTS, ".mountPath"), schema::rule("(has(self.secret) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.emptyDir) ? 1 : 0) == 1", "must have exactly one of secret, configMap, persistentVolumeClaim and emptyDir", "")]))]
pub struct Volume {
    /// Its name.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Where it is mounted.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:]+$"))]
    pub mount_path: String,
    /// Whether the worker may only read it.
    #[serde(default = "yes")]
    pub read_only: bool,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    /// A `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ObjectRef>,
    /// A claim of a persistent volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ObjectRef>,
    /// An empty folder that goes with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
}

fn yes() -> bool {
    true
}

/// An object in the service's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// An empty folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDir {
    /// In memory rather than on the node's disk: shared memory.
    pub memory: bool,
    /// Most bytes in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub size_limit: Option<String>,
}

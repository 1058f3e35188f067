//! The types of the resource, as a cluster stores it.

mod accelerator;
mod image;
mod model;
mod observability;
mod planner;
mod pod;
mod prefill_scale;
mod role;
mod routing;
mod security;
mod sessions;
mod slo;
mod status;

pub use accelerator::{Accelerator, GpuBudget};
pub use image::{Image, PullPolicy};
pub use model::{HuggingFace, Model, ModelCache, ModelSource, PersistentVolumeClaim, TokenSecret};
pub use observability::Observability;
pub use planner::{Planner, PlannerMode, Workload};
pub use pod::{
    EmptyDir, EnvironmentVariable, KeyRef, ObjectRef, PodOptions, TaintEffect, Toleration,
    TolerationOperator, Volume,
};
pub use prefill_scale::{AMPDPrefillScale, AMPDPrefillScaleSpec, AMPDPrefillScaleStatus};
pub use role::{Engine, Replicas, Resources, Role};
pub use routing::{OnRemoteFailure, Overload, Policy, Routing, SignalSource, Signals};
pub use security::{ApiAuth, ApiSecurity, NetworkSecurity, Security};
pub use sessions::{Drain, Sessions};
pub use slo::Slo;
pub use status::{AMPDServiceStatus, RoleStatus, SloStatus};

use kube_derive::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A model served for multi-round work by prefill and decode workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ampd.dev",
    version = "v1alpha1",
    kind = "AMPDService",
    plural = "ampdservices",
    shortname = "ampd",
    namespaced,
    derive = "PartialEq",
    crates(kube = "kube_derive", kube_core = "kube_core"),
    attr = "x_kube(crates(kube_core = \"kube_core\"))",
    doc = "A model served for multi-round work by prefill and decode workers.",
    status = "AMPDServiceStatus",
    scale(
        spec_replicas_path = ".spec.decode.replicas.min",
        status_replicas_path = ".status.decode.replicas",
        label_selector_path = ".status.decode.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "P", type_ = "string", json_path = ".status.prefill.summary", description = "Prefill workers, ready of desired."),
    printcolumn(name = "D", type_ = "string", json_path = ".status.decode.summary", description = "Decode workers, ready of desired."),
    printcolumn(name = "SLO%", type_ = "string", json_path = ".status.slo.attainedPercent", description = "Rounds that met the objectives."),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".status.gpus"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z][a-z0-9-]{0,39}$')")
        .message("must begin with a letter and have at most 40 characters and no dots: the names of pods and Services are made from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("self.decode.replicas.min >= 1")
        .message("must be at least 1: every session needs a decode worker")
        .field_path(".decode.replicas.min"),
    validation = Rule::new("self.routing.policy != 'always_remote' || self.prefill.replicas.min >= 1")
        .message("must be at least 1 where routing.policy is always_remote")
        .field_path(".prefill.replicas.min"),
    validation = Rule::new("has(self.accelerator) || self.prefill.tensorParallel.exists(degree, degree == 1)")
        .message("must contain 1 without an accelerator")
        .field_path(".prefill.tensorParallel"),
    validation = Rule::new("has(self.accelerator) || self.decode.tensorParallel.exists(degree, degree == 1)")
        .message("must contain 1 without an accelerator")
        .field_path(".decode.tensorParallel")
)]
pub struct AMPDServiceSpec {
    /// The model.
    pub model: Model,
    /// The objectives that rounds are to meet.
    #[serde(default)]
    pub slo: Slo,
    /// The accelerators to run on. Workers run on CPUs where it is absent, and always under `ampd local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// The workers that run prefills sent to them. With no replicas every prefill is local.
    #[serde(default)]
    pub prefill: Role,
    /// The workers that own the sessions' KV cache and all decoding.
    #[serde(default)]
    pub decode: Role,
    /// Where prefills run.
    #[serde(default)]
    pub routing: Routing,
    /// How sessions are told apart and how long they are kept.
    #[serde(default)]
    pub sessions: Sessions,
    /// How a worker stops.
    #[serde(default)]
    pub drain: Drain,
    /// The image of workers and sidecars.
    #[serde(default)]
    pub image: Image,
    /// What is known of the load beforehand.
    #[serde(default)]
    pub workload: Workload,
    /// How many workers of which parallel degree.
    #[serde(default)]
    pub planner: Planner,
    /// What the service tells of itself.
    #[serde(default)]
    pub observability: Observability,
    /// Who may reach the service.
    #[serde(default)]
    pub security: Security,
}

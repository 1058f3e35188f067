//! The second kind: a scale of the prefill workers, which the first kind's own scale cannot be.

#![allow(clippy::duplicated_attributes, reason = "two columns have one type")]

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of prefill workers of the `AMPDService` of the same name, for autoscalers: a resource can have one scale,
/// and that of an `AMPDService` is its decode workers'. While it exists, it takes the place of `prefill.replicas.min`,
/// up to `prefill.replicas.max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "ampd.dev",
    version = "v1alpha1",
    kind = "AMPDPrefillScale",
    plural = "ampdprefillscales",
    shortname = "ampdps",
    namespaced,
    derive = "PartialEq",
    status = "AMPDPrefillScaleStatus",
    crates(kube = "kube_derive", kube_core = "kube_core"),
    doc = "The number of prefill workers of the AMPDService of the same name, for autoscalers. While it exists, it takes the place of `prefill.replicas.min`, up to `prefill.replicas.max`.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Pods", json_path = ".status.replicas", type_ = "integer"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AMPDPrefillScaleSpec {
    /// How many prefill workers.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1024))]
    pub replicas: i32,
}

fn one() -> i32 {
    1
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AMPDPrefillScaleStatus {
    /// Prefill pods that there are.
    pub replicas: i32,
    /// Selects the pods.
    pub selector: String,
}

//! What children are made from.

use std::collections::BTreeMap;

use ampd_api::{AMPDService, Service};

use crate::{Role, Surge};

/// What children are made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The resource.
    pub resource: &'a AMPDService,
    /// The same with defaults filled in and texts read.
    pub service: &'a Service,
    /// What the operator was started with.
    pub settings: &'a Settings,
    /// What was seen in the cluster.
    pub facts: &'a Facts,
}

/// What the operator was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of workers and sidecars, unless a service names its own.
    pub worker_image: String,
    /// When it is pulled, unless a service says so.
    pub pull_policy: String,
    /// Base address of a mirror of Hugging Face; `None` for the original.
    pub hub_endpoint: Option<String>,
    /// The namespace that the operator runs in, whose pods may ask workers for their state.
    pub operator_namespace: String,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            worker_image: concat!("ghcr.io/ampd/ampd-worker:", env!("CARGO_PKG_VERSION")).into(),
            pull_policy: "IfNotPresent".into(),
            hub_endpoint: None,
            operator_namespace: "ampd-system".into(),
            cluster_domain: "cluster.local".into(),
        }
    }
}

/// What was seen in the cluster, as far as children depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// How many workers of which parallel degree there are to be; a degree with none has a Deployment without pods.
    pub replicas: BTreeMap<(Role, u32), i32>,
    /// The revision that clients are sent to; the newest where it is `None`.
    pub active_revision: Option<String>,
    /// Which roles have room in the budget for one more pod during a roll.
    pub surge: BTreeMap<Role, Surge>,
    /// Whether the cluster knows `PodMonitor`.
    pub pod_monitor: bool,
    /// Whether the cluster knows `PrometheusRule`.
    pub prometheus_rule: bool,
}

impl Facts {
    /// A cluster without anything special, with each role's least number of workers at its smallest parallel degree.
    #[must_use]
    pub fn plain(service: &Service) -> Self {
        let replicas = Role::ALL.into_iter().map(|role| {
            let wanted = role.of(service);
            let degree = wanted.tensor_parallel.first().copied().unwrap_or(1);
            ((role, degree), i32::try_from(wanted.min_replicas).unwrap_or(i32::MAX))
        });
        Self { replicas: replicas.collect(), ..Self::default() }
    }
}

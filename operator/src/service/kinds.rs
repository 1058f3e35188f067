//! The kinds of children.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};

/// A kind of children, in the order in which they are applied: pods come last, when all that they need is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What pods run as.
    ServiceAccount,
    /// What sidecars may ask.
    Role,
    /// Who may.
    RoleBinding,
    /// Which connections are let through.
    NetworkPolicy,
    /// Where pods are found.
    Service,
    /// How many pods may be taken at once.
    PodDisruptionBudget,
    /// What Prometheus scrapes.
    PodMonitor,
    /// What Prometheus warns of.
    PrometheusRule,
    /// The pods.
    Deployment,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::NetworkPolicy,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::PodMonitor,
        Self::PrometheusRule,
        Self::Deployment,
    ];

    /// Its name, as in objects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::PodMonitor => "PodMonitor",
            Self::PrometheusRule => "PrometheusRule",
            Self::Deployment => "Deployment",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::Service => "",
            Self::Role | Self::RoleBinding => "rbac.authorization.k8s.io",
            Self::NetworkPolicy => "networking.k8s.io",
            Self::PodDisruptionBudget => "policy",
            Self::PodMonitor | Self::PrometheusRule => "monitoring.coreos.com",
            Self::Deployment => "apps",
        }
    }

    /// Its name in addresses.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::NetworkPolicy => "networkpolicies",
            Self::Service => "services",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::PodMonitor => "podmonitors",
            Self::PrometheusRule => "prometheusrules",
            Self::Deployment => "deployments",
        }
    }

    /// What the client needs of it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version) = (self.group(), "v1");
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.into(),
            version: version.into(),
            api_version,
            kind: self.as_str().into(),
            plural: self.plural().into(),
        }
    }
}

/// The objects of a kind in a namespace.
pub(crate) fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

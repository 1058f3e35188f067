//! The metadata of children.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube_core::Resource as _;

use crate::Input;
use crate::labels::Labels;

impl Input<'_> {
    /// The service's name.
    pub(crate) fn name(&self) -> &str {
        &self.service.name
    }

    /// The metadata of a child: it goes when the service does.
    pub(crate) fn metadata(&self, name: String, labels: Labels) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.service.namespace.clone()),
            labels: Some(labels),
            owner_references: self.owner().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// None where the resource is not from a cluster.
    fn owner(&self) -> Option<OwnerReference> {
        self.resource.controller_owner_ref(&())
    }
}

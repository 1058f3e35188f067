//! Questions to what there is.

use std::collections::BTreeMap;

use ampd_render::{Role, labels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::dereference::Observed;
use super::drain::since;

/// A label's value.
pub(crate) fn label<'a, K: kube::Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(key).map(String::as_str)
}

/// The role of a child.
pub(crate) fn role_of<K: kube::Resource>(object: &K) -> Option<Role> {
    let component = label(object, labels::COMPONENT)?;
    Role::ALL.into_iter().find(|role| role.as_str() == component)
}

/// The parallel degree of a child.
pub(crate) fn degree_of<K: kube::Resource>(object: &K) -> u32 {
    label(object, labels::DEGREE).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether a pod is ready and not on its way out.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|found| found.type_ == "Ready" && found.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Whether one of a pod's containers runs, ready or not.
pub(crate) fn runs(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let containers = status.flat_map(|status| [&status.init_container_statuses, &status.container_statuses]);
    containers
        .flatten()
        .flatten()
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Whether a pod is over, so that what it held is free.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod waits for the budget.
pub(crate) fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| gates.iter().any(|gate| gate.name == labels::BUDGET_GATE))
}

impl Observed {
    /// The Deployments of a revision.
    fn of_revision<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = &'a Deployment> {
        self.deployments.iter().filter(move |found| label(*found, labels::REVISION) == Some(revision))
    }

    /// The Deployments of a role and revision.
    pub(crate) fn deployments_of<'a>(
        &'a self,
        revision: &'a str,
        role: Role,
    ) -> impl Iterator<Item = &'a Deployment> {
        self.of_revision(revision).filter(move |found| role_of(*found) == Some(role))
    }

    /// Whether there are pods of a revision, ending ones too.
    pub(crate) fn has_pods(&self, revision: &str) -> bool {
        self.pods.iter().any(|pod| label(pod, labels::REVISION) == Some(revision) && !is_over(pod))
    }

    /// The decode pods of a revision that are on their way out by the operator's wish.
    pub(crate) fn marked<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = String> + 'a {
        let live = self.live_pods_of(Role::Decode);
        let marked =
            live.filter(move |pod| label(*pod, labels::REVISION) == Some(revision) && since(pod).is_some());
        marked.map(kube::ResourceExt::name_any)
    }

    /// Whether there are Deployments of a revision.
    pub(crate) fn has_revision(&self, revision: &str) -> bool {
        self.of_revision(revision).next().is_some()
    }

    /// Accelerators of the workers that a revision is to have.
    pub(crate) fn gpus_meant_for(&self, revision: &str) -> i64 {
        let gpus = |found: &Deployment| {
            let replicas = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            i64::from(replicas) * i64::from(degree_of(found))
        };
        self.of_revision(revision).map(gpus).sum()
    }

    /// Whether a revision has a ready decode pod.
    pub(crate) fn serves(&self, revision: &str) -> bool {
        self.ready_pods(revision).any(|pod| role_of(pod) == Some(Role::Decode))
    }

    /// Whether a revision has as many ready pods as are wanted of each role and degree.
    pub(crate) fn is_complete(&self, revision: &str, wanted: &BTreeMap<(Role, u32), i32>) -> bool {
        wanted.iter().all(|(&(role, degree), &count)| {
            let of_it = |pod: &&Pod| role_of(*pod) == Some(role) && degree_of(*pod) == degree;
            self.ready_pods(revision).filter(of_it).count() >= usize::try_from(count).unwrap_or(0)
        })
    }

    /// Whether the decode workers of a revision were all there once: Deployments keep that as the reason of a condition.
    pub(crate) fn has_served(&self, revision: &str) -> bool {
        let complete = |found: &Deployment| {
            let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|found| found.reason.as_deref() == Some("NewReplicaSetAvailable"))
        };
        self.serves(revision)
            || self.of_revision(revision).any(|found| role_of(found) == Some(Role::Decode) && complete(found))
    }

    fn ready_pods<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = &'a Pod> {
        let of_it = move |pod: &&Pod| label(*pod, labels::REVISION) == Some(revision);
        self.pods.iter().filter(of_it).filter(|pod| is_ready(pod))
    }

    /// The replicas that the Deployments of a revision have now; none where one of `wanted` is not there.
    pub(crate) fn replicas(
        &self,
        revision: &str,
        wanted: &BTreeMap<(Role, u32), i32>,
    ) -> BTreeMap<(Role, u32), i32> {
        let present = |(role, degree): (Role, u32)| {
            self.of_revision(revision)
                .find(|found| role_of(*found) == Some(role) && degree_of(*found) == degree)
                .and_then(|found| found.spec.as_ref()?.replicas)
                .unwrap_or(0)
        };
        wanted.keys().map(|key| (*key, present(*key))).collect()
    }

    /// The pods of a role.
    pub(crate) fn pods_of(&self, role: Role) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| role_of(*pod) == Some(role))
    }

    /// The pods of a role that are neither over nor on their way out.
    pub(crate) fn live_pods_of(&self, role: Role) -> impl Iterator<Item = &Pod> {
        self.pods_of(role).filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_over(pod))
    }

    /// The pods by name.
    pub(crate) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name_any() == name)
    }
}

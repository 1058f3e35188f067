//! The Services: the front for clients, and one without an address for each role's members.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ports::{API, CONTROL, FRONT, KV, Port, SIDECAR};
use crate::{Input, Role, labels, names};

/// What clients speak with: the sidecars of the ready decode pods of the active revision.
pub(crate) fn front(input: &Input<'_>, active: &str) -> Service {
    let name = input.name();
    let mut selector = labels::selector(name, Role::Decode);
    selector.insert(labels::REVISION.into(), active.into());
    let spec = ServiceSpec {
        selector: Some(selector),
        ports: Some(vec![port(API, FRONT)]),
        type_: Some("ClusterIP".into()),
        ..ServiceSpec::default()
    };
    Service {
        metadata: input.metadata(names::front(name), labels::service(name)),
        spec: Some(spec),
        status: None,
    }
}

/// By which the sidecars find a role's pods, those too that are not ready: their state is asked for.
pub(crate) fn members(input: &Input<'_>, role: Role, revision: &str) -> Service {
    let name = input.name();
    let mut selector = labels::selector(name, role);
    selector.insert(labels::REVISION.into(), revision.into());
    let mut all = labels::role(name, role);
    all.insert(labels::REVISION.into(), revision.into());
    let ports = match role {
        Role::Decode => vec![CONTROL, KV, SIDECAR],
        Role::Prefill => vec![CONTROL],
    };
    let spec = ServiceSpec {
        selector: Some(selector),
        ports: Some(ports.into_iter().map(|given| port(given, given.number)).collect()),
        type_: Some("ClusterIP".into()),
        cluster_ip: Some("None".into()),
        publish_not_ready_addresses: Some(true),
        ..ServiceSpec::default()
    };
    Service {
        metadata: input.metadata(names::members(name, role, revision), all),
        spec: Some(spec),
        status: None,
    }
}

fn port(target: Port, number: i32) -> ServicePort {
    ServicePort {
        name: Some(target.name.into()),
        port: number,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(target.name.into())),
        ..ServicePort::default()
    }
}

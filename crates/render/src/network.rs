//! Which connections are let through.

use ampd_api::resolved::ModelSource;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::labels::Labels;
use crate::ports::{API, CONTROL, KV, Port, SIDECAR};
use crate::{Input, Role, labels, names};

/// The label that every namespace has with its own name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// The policy of a role's pods: whatever it does not name is refused.
pub(crate) fn policy(input: &Input<'_>, role: Role) -> NetworkPolicy {
    let name = input.name();
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(labels::selector(name, role))),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(ingress(input, role)),
        egress: Some(egress(input, role)),
    };
    NetworkPolicy {
        metadata: input.metadata(names::role(name, role), labels::role(name, role)),
        spec: Some(spec),
    }
}

fn ingress(input: &Input<'_>, role: Role) -> Vec<NetworkPolicyIngressRule> {
    let (decode, prefill) = (pods(input, Role::Decode), pods(input, Role::Prefill));
    let operator = namespace(&input.settings.operator_namespace);
    // The listeners demand a certificate; which namespace Prometheus is in, the manifest may say.
    let scrapes = |ports: &[Port]| {
        let wanted = &input.resource.spec.security.network.metrics_namespaces;
        let peers = if wanted.is_empty() { Vec::new() } else { vec![namespaces(wanted.clone())] };
        from(peers, ports)
    };
    match role {
        Role::Decode => vec![
            from(clients(input), &[API]),
            from(vec![decode.clone(), operator], &[SIDECAR, CONTROL]),
            from(vec![prefill, decode], &[KV]),
            scrapes(&[SIDECAR, CONTROL]),
        ],
        Role::Prefill => vec![from(vec![decode, operator], &[CONTROL]), scrapes(&[CONTROL])],
    }
}

fn egress(input: &Input<'_>, role: Role) -> Vec<NetworkPolicyEgressRule> {
    let (decode, prefill) = (pods(input, Role::Decode), pods(input, Role::Prefill));
    let mut rules = vec![names_rule()];
    match role {
        Role::Decode => {
            rules.push(to(vec![decode], &[numbered(CONTROL), numbered(SIDECAR), numbered(KV)]));
            rules.push(to(vec![prefill], &[numbered(CONTROL)]));
            // The API server has no labels; it listens on one of these.
            rules.push(to(Vec::new(), &[tcp(443), tcp(6443)]));
        }
        Role::Prefill => rules.push(to(vec![decode], &[numbered(KV)])),
    }
    if matches!(input.service.model.source, ModelSource::HuggingFace { .. }) {
        rules.push(to(Vec::new(), &[tcp(input.settings.hub_endpoint.as_deref().map_or(443, port_of))]));
    }
    if let Some(url) = &input.service.routing.prometheus_url
        && role == Role::Decode
    {
        rules.push(to(Vec::new(), &[tcp(port_of(url))]));
    }
    rules
}

/// The port of an `http` or `https` address.
fn port_of(url: &str) -> i32 {
    let (standard, rest) = match url.strip_prefix("https://") {
        Some(rest) => (443, rest),
        None => (80, url.trim_start_matches("http://")),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(standard)
}

fn clients(input: &Input<'_>) -> Vec<NetworkPolicyPeer> {
    let wanted = &input.resource.spec.security.network.client_namespaces;
    if wanted.is_empty() {
        return Vec::new();
    }
    let own =
        NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    vec![own, namespaces(wanted.clone())]
}

fn names_rule() -> NetworkPolicyEgressRule {
    let port = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.into()),
        end_port: None,
    };
    NetworkPolicyEgressRule { to: None, ports: Some(vec![port("UDP"), port("TCP")]) }
}

fn selector(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn pods(input: &Input<'_>, role: Role) -> NetworkPolicyPeer {
    let chosen = selector(labels::selector(input.name(), role));
    NetworkPolicyPeer { pod_selector: Some(chosen), ..NetworkPolicyPeer::default() }
}

fn namespace(name: &str) -> NetworkPolicyPeer {
    namespaces([(NAMESPACE.to_owned(), name.to_owned())].into())
}

fn namespaces(labels: Labels) -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(selector(labels)), ..NetworkPolicyPeer::default() }
}

fn from(peers: Vec<NetworkPolicyPeer>, ports: &[Port]) -> NetworkPolicyIngressRule {
    let ports = ports.iter().copied().map(numbered).collect();
    NetworkPolicyIngressRule { from: (!peers.is_empty()).then_some(peers), ports: Some(ports) }
}

fn to(peers: Vec<NetworkPolicyPeer>, ports: &[NetworkPolicyPort]) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: (!peers.is_empty()).then_some(peers), ports: Some(ports.to_vec()) }
}

fn numbered(port: Port) -> NetworkPolicyPort {
    tcp(port.number)
}

fn tcp(number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(number)), protocol: Some("TCP".into()), end_port: None }
}

//! A node: container runtime, kubelet and kube-proxy; with the first one the cluster's DNS.

use std::time::Duration;

use super::clients::Client;
use super::kubernetes::Kubernetes;
use super::pki::Pki;
use super::processes::Component;
use super::state::State;
use super::{cgroups, network, runtime};

/// The programs that run on each, and so are looked for when a cluster is taken up again.
pub(crate) const PROGRAMS: [&str; 3] = [runtime::PROGRAM, "kubelet", "kube-proxy"];
/// The one that runs beside the first node.
pub(crate) const DNS: &str = "coredns";
/// The accelerators that each node says it has; what asks for them runs on the CPU.
const GPUS: u32 = 8;
/// How long a component may take, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_mins(2);

/// The node's name in the cluster.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// Starts the node, whose runtime runs and has the images already, and waits until pods run on it.
pub(crate) fn start(
    state: &State,
    kubernetes: &Kubernetes,
    client: &Client,
    pki: &Pki,
    node: usize,
) -> anyhow::Result<()> {
    let (name, address) = (name(node), network::address(node));
    let root = cgroups::make(state, node)?;
    let own = pki.kubeconfig(&name, &format!("system:node:{name}"), Some("system:nodes"))?;
    state.write(&format!("{name}/kubelet.yaml"), &kubelet(state, node, &root))?;
    let mut kubelet = Component::start(
        state,
        node,
        &kubernetes.program("kubelet"),
        [
            format!("--config={}", state.path(&format!("{name}/kubelet.yaml")).display()),
            format!("--kubeconfig={}", own.display()),
            format!("--root-dir={}", state.path(&format!("{name}/kubelet")).display()),
            format!("--cert-dir={}", state.path(&format!("{name}/kubelet-certificates")).display()),
            format!("--hostname-override={name}"),
            format!("--node-ip={address}"),
        ],
    )?;
    let own = pki.kubeconfig(&format!("{name}-proxy"), "system:kube-proxy", None)?;
    let mut proxy = Component::start(
        state,
        node,
        &kubernetes.program("kube-proxy"),
        [
            format!("--kubeconfig={}", own.display()),
            format!("--hostname-override={name}"),
            "--proxy-mode=iptables".to_owned(),
            "--cluster-cidr=10.244.0.0/16".to_owned(),
            // These are settings of the whole machine, not of the namespace.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0s".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
        ],
    )?;
    if node == 1 {
        dns(state, kubernetes, client, pki)?;
    }
    let wait = format!("--for=condition=Ready=True node/{name}");
    let wait: Vec<_> = ["wait", "--timeout=5s"].into_iter().chain(wait.split(' ')).collect();
    kubelet.ready(LIMIT, || client.quiet(&wait))?;
    proxy.ready(LIMIT, || Ok(()))?;
    let gpus = |list: &str| {
        format!(r#"{{"op": "add", "path": "/status/{list}/nvidia.com~1gpu", "value": "{GPUS}"}}"#)
    };
    let patch = format!("[{}, {}]", gpus("capacity"), gpus("allocatable"));
    client.quiet(&["patch", "node", &name, "--subresource=status", "--type=json", "--patch", &patch])
}

/// The cluster's DNS, as a process beside the control plane: pods ask the first node's address.
fn dns(state: &State, kubernetes: &Kubernetes, client: &Client, pki: &Pki) -> anyhow::Result<()> {
    // It may read what the DNS of every cluster may; this one is no pod and so has no ServiceAccount.
    let own = pki.kubeconfig(DNS, "system:dns", None)?;
    let role = "--clusterrole=system:kube-dns";
    client.quiet(&["create", "clusterrolebinding", "dns", role, "--user=system:dns"])?;
    let reads = ["create", "clusterrole", "dns", "--verb=list,watch"];
    let resources = "--resource=endpointslices.discovery.k8s.io,namespaces,services,pods";
    client.quiet(&[&reads[..], &[resources]].concat())?;
    client.quiet(&["create", "clusterrolebinding", "dns-reads", "--clusterrole=dns", "--user=system:dns"])?;
    let address = network::address(1);
    let ready = format!("{address}:8181");
    let corefile = format!(
        ".:53 {{
    bind {address}
    errors
    ready {ready}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        pods insecure
    }}
    cache 5
}}
",
        own.display()
    );
    state.write("Corefile", &corefile)?;
    let config = state.path("Corefile");
    let mut dns =
        Component::start(state, 1, &kubernetes.program(DNS), ["-conf".as_ref(), config.as_os_str()])?;
    let server = ready.parse()?;
    dns.ready(LIMIT, || network::answers(state, 1, server, "/ready"))
}

fn kubelet(state: &State, node: usize, cgroup: &str) -> String {
    let path = |name: &str| state.path(name).display().to_string();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority:?}}}
authorization: {{mode: Webhook}}
containerRuntimeEndpoint: {runtime:?}
clusterDNS: [{dns}]
clusterDomain: cluster.local
# Names of the world outside mean nothing in here.
resolvConf: ''
podLogsDir: {logs:?}
cgroupDriver: cgroupfs
# Each kubelet ends what it does not know below its own group, and only there.
cgroupRoot: {cgroup}
failCgroupV1: false
failSwapOn: false
# Inside of a sandbox even root may not make a process less likely to be ended when memory runs out.
oomScoreAdj: 0
# The machine is a developer's, and its disk is not this node's to judge.
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
",
        address = network::address(node),
        dns = network::address(1),
        authority = path("pki/ca.crt"),
        runtime = format!("unix://{}", runtime::socket(state, node).display()),
        logs = path(&format!("node-{node}/pod-logs")),
    )
}

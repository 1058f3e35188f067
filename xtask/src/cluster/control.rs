//! The control plane: etcd, API server, controllers, scheduler.

use std::path::Path;
use std::time::Duration;

use super::clients::Client;
use super::kubernetes::Kubernetes;
use super::network;
use super::pki::{PORT, Pki};
use super::processes::Component;
use super::state::State;

/// The programs that run, and so are looked for when a cluster is taken up again.
pub(crate) const PROGRAMS: [&str; 4] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Addresses of Services: room for some thousands, as tests with hundreds of services make several each.
const SERVICES: &str = "10.96.0.0/16";
/// The address of the Service by which pods reach the API server: the first of the range.
const API_SERVICE: &str = "10.96.0.1";
/// How long a component may take, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_mins(2);

/// Where etcd serves the API server.
const ETCD: &str = "http://127.0.0.1:2379";
/// Where it would serve its peers.
const PEERS: &str = "http://127.0.0.1:2380";
/// The API server's name in the cluster.
const DOMAIN: &str = "kubernetes.default.svc.cluster.local";

/// Starts it and waits until it accepts pods.
pub(crate) fn start(state: &State, kubernetes: &Kubernetes, client: &Client) -> anyhow::Result<Pki> {
    let address = network::address(1);
    let short = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = short.into_iter().chain([DOMAIN, address.as_str(), API_SERVICE, "127.0.0.1", "localhost"]);
    let pki = Pki::make(state, &names.map(str::to_owned).collect::<Vec<_>>())?;
    let start =
        |name: &str, arguments: Vec<String>| Component::start(state, 1, &kubernetes.program(name), arguments);
    let mut etcd = start("etcd", etcd(state))?;
    let mut api = start("kube-apiserver", api_server(state))?;
    api.ready(LIMIT, || client.quiet(&["get", "--raw=/readyz"])).or_else(|error| {
        // An API server whose store has ended says little about why.
        etcd.ready(Duration::ZERO, || Ok(()))?;
        Err(error)
    })?;
    let name = "kube-controller-manager";
    let own = pki.kubeconfig(name, &format!("system:{name}"), None)?;
    let mut controllers = start(name, [of_client(state, &own), controllers(state)].concat())?;
    let name = "kube-scheduler";
    let own = pki.kubeconfig(name, &format!("system:{name}"), None)?;
    let mut scheduler = start(name, of_client(state, &own))?;
    // Pods are refused before their namespace has this account.
    controllers.ready(LIMIT, || client.quiet(&["get", "serviceaccount", "default"]))?;
    // That it works is seen with the first pod; by now a wrong argument would have ended it.
    scheduler.ready(LIMIT, || Ok(()))?;
    Ok(pki)
}

fn etcd(state: &State) -> Vec<String> {
    vec![
        format!("--data-dir={}", state.path("etcd").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={PEERS}"),
        format!("--initial-advertise-peer-urls={PEERS}"),
        format!("--initial-cluster=default={PEERS}"),
        // Nothing in it outlives the cluster, let alone a loss of power.
        "--unsafe-no-fsync=true".to_owned(),
    ]
}

fn api_server(state: &State) -> Vec<String> {
    vec![
        format!("--advertise-address={}", network::address(1)),
        format!("--secure-port={PORT}"),
        format!("--etcd-servers={ETCD}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--endpoint-reconciler-type=master-count".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP,Hostname".to_owned(),
        format!("--service-account-issuer=https://{DOMAIN}"),
        format!("--api-audiences=https://{DOMAIN}"),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        file(state, "cert-dir", "api-server"),
        file(state, "client-ca-file", "ca.crt"),
        file(state, "tls-cert-file", "apiserver.crt"),
        file(state, "tls-private-key-file", "apiserver.key"),
        file(state, "kubelet-client-certificate", "apiserver-kubelet.crt"),
        file(state, "kubelet-client-key", "apiserver-kubelet.key"),
        file(state, "requestheader-client-ca-file", "front-proxy-ca.crt"),
        file(state, "proxy-client-cert-file", "front-proxy.crt"),
        file(state, "proxy-client-key-file", "front-proxy.key"),
        file(state, "service-account-key-file", "accounts.pub"),
        file(state, "service-account-signing-key-file", "accounts.key"),
    ]
}

fn controllers(state: &State) -> Vec<String> {
    vec![
        "--use-service-account-credentials=true".to_owned(),
        // Each node's range is fixed in its network's configuration.
        "--allocate-node-cidrs=false".to_owned(),
        // The only node is not given up for a lost API server, whose connections take up to a minute more to come back:
        // Services send nothing to the pods of a node that is not ready.
        "--node-monitor-grace-period=3m".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        file(state, "root-ca-file", "ca.crt"),
        file(state, "service-account-private-key-file", "accounts.key"),
        file(state, "cluster-signing-cert-file", "ca.crt"),
        file(state, "cluster-signing-key-file", "ca.key"),
    ]
}

/// The arguments of those that are clients of the API server.
fn of_client(state: &State, kubeconfig: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        file(state, "cert-dir", "own"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}

/// An argument that names a file of the PKI.
fn file(state: &State, argument: &str, name: &str) -> String {
    format!("--{argument}={}", state.path(&format!("pki/{name}")).display())
}

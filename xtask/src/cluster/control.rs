//! The control plane: etcd, API server, controllers, scheduler.

use std::time::Duration;

use anyhow::Context;

use super::clients::Client;
use super::kubernetes::Kubernetes;
use super::pki::{PORT, Pki};
use super::processes::Component;
use super::state::State;
use super::{network, wait};

/// The programs that run, and so are looked for when a cluster is taken up again.
pub(crate) const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Addresses of Services: room for some thousands, as tests with hundreds of services make several each.
const SERVICES: &str = "10.96.0.0/16";
/// The address of the Service by which pods reach the API server: the first of the range.
const API_SERVICE: &str = "10.96.0.1";
/// How long a component may take, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(120);

/// Starts it and waits until it accepts pods.
pub(crate) fn start(state: &State, kubernetes: &Kubernetes, client: &Client) -> anyhow::Result<Pki> {
    let address = network::address(1);
    let domain = "kubernetes.default.svc.cluster.local";
    let prefixes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", domain];
    let others = [address.as_str(), API_SERVICE, "127.0.0.1", "localhost"];
    let names: Vec<_> = prefixes.iter().chain(&others).map(|name| (*name).to_owned()).collect();
    let pki = Pki::make(state, &names)?;
    let pki_file = |name: &str| state.path(&format!("pki/{name}")).display().to_string();
    let flag = |name: &str, file: &str| format!("--{name}={}", pki_file(file));

    let program = |name: &str| kubernetes.program(name);
    let etcd = "http://127.0.0.1:2379";
    let peers = "http://127.0.0.1:2380";
    let mut store = Component::start(
        state,
        1,
        &program("etcd"),
        [
            format!("--data-dir={}", state.path("etcd").display()),
            format!("--listen-client-urls={etcd}"),
            format!("--advertise-client-urls={etcd}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            // Nothing in it outlives the cluster, let alone a loss of power.
            "--unsafe-no-fsync=true".to_owned(),
        ],
    )?;
    let mut api = Component::start(
        state,
        1,
        &program("kube-apiserver"),
        [
            format!("--advertise-address={address}"),
            format!("--secure-port={PORT}"),
            format!("--etcd-servers={etcd}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--endpoint-reconciler-type=master-count".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--kubelet-preferred-address-types=InternalIP,Hostname".to_owned(),
            format!("--service-account-issuer=https://{domain}"),
            format!("--api-audiences=https://{domain}"),
            "--requestheader-allowed-names=front-proxy".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            flag("cert-dir", "apiserver"),
            flag("client-ca-file", "ca.crt"),
            flag("tls-cert-file", "apiserver.crt"),
            flag("tls-private-key-file", "apiserver.key"),
            flag("kubelet-client-certificate", "apiserver-kubelet.crt"),
            flag("kubelet-client-key", "apiserver-kubelet.key"),
            flag("requestheader-client-ca-file", "front-proxy-ca.crt"),
            flag("proxy-client-cert-file", "front-proxy.crt"),
            flag("proxy-client-key-file", "front-proxy.key"),
            flag("service-account-key-file", "accounts.pub"),
            flag("service-account-signing-key-file", "accounts.key"),
        ],
    )?;
    api.ready(LIMIT, || client.quiet(&["get", "--raw=/readyz"]).context("it refuses")).or_else(|error| {
        // An API server whose store is gone says little about why.
        store.ready(Duration::ZERO, || Ok(()))?;
        Err(error)
    })?;

    let own = |name: &str| pki.kubeconfig(name, &format!("system:{name}"), None);
    let controllers = own("kube-controller-manager")?;
    let scheduler = own("kube-scheduler")?;
    let mut manager = Component::start(
        state,
        1,
        &program("kube-controller-manager"),
        [
            format!("--kubeconfig={}", controllers.display()),
            format!("--authentication-kubeconfig={}", controllers.display()),
            format!("--authorization-kubeconfig={}", controllers.display()),
            format!("--cert-dir={}", state.path("controllers").display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            // Each node's range is fixed in its network's configuration.
            "--allocate-node-cidrs=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            flag("root-ca-file", "ca.crt"),
            flag("service-account-private-key-file", "accounts.key"),
            flag("cluster-signing-cert-file", "ca.crt"),
            flag("cluster-signing-key-file", "ca.key"),
        ],
    )?;
    let mut assigner = Component::start(
        state,
        1,
        &program("kube-scheduler"),
        [
            format!("--kubeconfig={}", scheduler.display()),
            format!("--authentication-kubeconfig={}", scheduler.display()),
            format!("--authorization-kubeconfig={}", scheduler.display()),
            format!("--cert-dir={}", state.path("scheduler").display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ],
    )?;
    manager.ready(LIMIT, || client.quiet(&["get", "serviceaccount", "default"]))?;
    assigner.ready(LIMIT, || client.quiet(&["get", "--raw=/readyz"]))?;
    wait::until("the API server's Service is there", LIMIT, || client.quiet(&["get", "service", "kubernetes"]))?;
    Ok(pki)
}

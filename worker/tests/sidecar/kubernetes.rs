//! `ampd-sidecar` as a process that finds its service's workers through an API server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use crate::cluster::client::{Client, user};
use crate::cluster::{Cluster, PATIENCE, Plan, eventually};
use ampd_fakeapi::{FakeApi, Fault};
use ampd_testkit::ports::free_port;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";

/// Loopback by another name, which nothing takes for loopback.
fn free_address() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), free_port().unwrap().port())
}

/// What the EndpointSlice controller does: the Service has one pod, with these ports at that address.
async fn put(api: &FakeApi, service: &str, pod: &str, ports: &[(&str, SocketAddr)]) {
    let slices = Api::<EndpointSlice>::namespaced(api.admin("default"), "default");
    let slice = slice(service, pod, ports);
    slices.patch(pod, &PatchParams::apply("controller").force(), &Patch::Apply(slice)).await.unwrap();
}

fn slice(service: &str, pod: &str, ports: &[(&str, SocketAddr)]) -> Value {
    let port = |(name, address): &(&str, SocketAddr)| json!({"name": name, "port": address.port(), "protocol": "TCP"});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": pod, "labels": {"kubernetes.io/service-name": service}},
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
        "endpoints": [{"addresses": [ports[0].1.ip()], "targetRef": {"kind": "Pod", "name": pod}}],
    })
}

struct Sidecar {
    child: Child,
    client: Client,
}

impl Sidecar {
    fn start(cluster: &Cluster, kubeconfig: &str, internal: SocketAddr) -> Self {
        let public = free_port().unwrap();
        let path = |name: &str| cluster.dir.path().join(name);
        std::fs::write(path("kubeconfig"), kubeconfig).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ampd-sidecar"))
            .args(["--name=decode-0", "--namespace=default", "--service=chat", "--model-name=tiny"])
            .args([
                "--decode-service=chat-decode",
                "--prefill-service=chat-prefill",
                "--policy=always_remote",
            ])
            .args([format!("--listen={public}"), format!("--internal-listen={internal}")])
            .args(["--model".into(), path("model"), "--tls-dir".into(), path("sidecar")])
            .env("KUBECONFIG", path("kubeconfig"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, client: Client::new(public) }
    }

    /// Waits until it is not ready for this reason.
    async fn waits(&self, reason: &str) {
        eventually(reason, || async {
            let answer = self.client.get("/readyz").await;
            answer.status == 503 && answer.text.contains(reason)
        })
        .await;
    }

    async fn round(&self, session: &str) {
        let answer = self.client.chat(session, &[user(&format!("{session} {LONG}"))], json!({})).await;
        assert_eq!((answer.status, answer.header("x-ampd-prefill")), (200, "remote"), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_serves_with_the_workers_that_the_api_server_tells() {
    let cluster = Cluster::start(Plan { is_open: true, ..Plan::new(1, 1) }).await;
    let (decode, prefill) = (&cluster.decode[0], &cluster.prefill[0]);
    let api = FakeApi::new();
    api.set_faults(|_| Fault::Fail(503, "ServiceUnavailable"));
    let (kubeconfig, serving) = api.serve().await.unwrap();
    let internal = free_address();
    let mut sidecar = Sidecar::start(&cluster, &kubeconfig, internal);
    sidecar.waits("the API server has not told").await;
    assert_eq!(sidecar.client.get("/healthz").await.status, 200);
    api.clear_faults();
    // Its pod has no address yet, which is no error.
    sidecar.waits("lacks this sidecar's decode worker").await;
    let kv = decode.kv_address.unwrap();
    let ports = [("control", decode.address), ("kv", kv), ("sidecar", internal)];
    put(&api, "chat-decode", "decode-0", &ports).await;
    put(&api, "chat-prefill", "prefill-0", &[("control", prefill.address)]).await;
    eventually("it sees all", || async {
        let answer = sidecar.client.get("/readyz").await;
        answer.status == 200 && answer.json()["prefill"]["ready"] == 1
    })
    .await;
    sidecar.round("one").await;
    // Without the API server everything goes on.
    serving.abort();
    let _ = serving.await;
    api.set_faults(|_| Fault::Fail(503, "ServiceUnavailable"));
    api.drop_watches();
    sidecar.round("two").await;
    assert_eq!(sidecar.client.get("/readyz").await.status, 200);
    let pid = Pid::from_raw(sidecar.child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, sidecar.child.wait()).await.expect("it stops").unwrap();
    assert_eq!(status.code(), Some(0));
    cluster.stop().await;
}

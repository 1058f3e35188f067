//! A service's workers from the API server's EndpointSlices, whatever happens to the API server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ampd_fakeapi::{FakeApi, Fault, Verb};
use ampd_worker::topology::{Services, Topology, discover};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);
/// As while the API server starts.
const UNAVAILABLE: Fault = Fault::Fail(503, "ServiceUnavailable");

/// What the EndpointSlice controller does: these are the pods of a Service's slice.
async fn put(api: &FakeApi, service: &str, name: &str, pods: &[&str]) {
    let apply = PatchParams::apply("controller").force();
    slices(api).patch(name, &apply, &Patch::Apply(slice(service, name, pods))).await.unwrap();
}

async fn delete(api: &FakeApi, name: &str) {
    slices(api).delete(name, &DeleteParams::default()).await.unwrap();
}

fn slices(api: &FakeApi) -> Api<EndpointSlice> {
    Api::namespaced(api.admin("team"), "team")
}

/// From now on everything fails like this.
fn fails(api: &FakeApi, fault: Fault) {
    api.set_faults(move |_| fault.clone());
}

/// Counts the lists from now on.
fn lists(api: &FakeApi) -> Arc<AtomicUsize> {
    let lists = Arc::new(AtomicUsize::new(0));
    let counted = lists.clone();
    api.set_faults(move |call| {
        if call.verb == Verb::List {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Fault::Pass
    });
    lists
}

fn slice(service: &str, name: &str, pods: &[&str]) -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
    let endpoint = |(index, name): (usize, &&str)| json!({"addresses": [format!("10.0.0.{}", index + 1)], "targetRef": {"kind": "Pod", "name": name}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "ports": [port("control", 9000), port("kv", 9001), port("sidecar", 9002)],
        "endpoints": pods.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
    })
}

struct Followed {
    api: FakeApi,
    topology: watch::Receiver<Arc<Topology>>,
    failures: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Followed {
    fn start(api: &FakeApi) -> Self {
        let client = api.client("team");
        let (failures, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let services = Services {
            namespace: "team".into(),
            service: "chat".into(),
            decode: "chat-decode".into(),
            prefill: "chat-prefill".into(),
        };
        let counted = failures.clone();
        let failed = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let (topology, task) = discover(&client, services, failed, stop.clone());
        Self { api: api.clone(), topology, failures, stop, task }
    }

    /// Waits until these are the decode and the prefill workers.
    async fn names(&mut self, decode: &[&str], prefill: &[&str]) {
        let expected = |topology: &Arc<Topology>| {
            topology.decode.iter().map(|member| member.name.as_str()).eq(decode.iter().copied())
                && topology.prefill.iter().map(|member| member.name.as_str()).eq(prefill.iter().copied())
        };
        let found = timeout(PATIENCE, self.topology.wait_for(expected)).await.map(drop);
        assert!(found.is_ok(), "{:?} is not {decode:?} and {prefill:?}", self.topology.borrow());
    }

    /// Waits until there were more failures than `before`.
    async fn failed(&self, before: usize) {
        let more = async {
            while self.failures.load(Ordering::SeqCst) <= before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, more).await.expect("it fails");
    }

    fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it stops").unwrap();
    }
}

async fn api() -> FakeApi {
    let api = FakeApi::new();
    put(&api, "chat-decode", "d-a", &["d-0", "d-1"]).await;
    put(&api, "chat-prefill", "p-a", &["p-0"]).await;
    // Another service in the same namespace.
    put(&api, "other-decode", "o-a", &["o-0"]).await;
    api
}

#[tokio::test]
async fn changes_of_slices_are_changes_of_the_topology() {
    let mut followed = Followed::start(&api().await);
    followed.names(&["d-0", "d-1"], &["p-0"]).await;
    let topology = followed.topology.borrow().clone();
    assert_eq!((topology.namespace.as_str(), topology.service.as_str()), ("team", "chat"));
    assert_eq!(topology.decode[1].sidecar_url, "https://10.0.0.2:9002");
    put(&followed.api, "chat-decode", "d-b", &["d-2"]).await;
    followed.names(&["d-0", "d-1", "d-2"], &["p-0"]).await;
    put(&followed.api, "chat-decode", "d-a", &["d-1"]).await;
    followed.names(&["d-1", "d-2"], &["p-0"]).await;
    delete(&followed.api, "p-a").await;
    followed.names(&["d-1", "d-2"], &[]).await;
    assert_eq!(followed.failures(), 0);
    followed.stop().await;
}

#[tokio::test]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let api = api().await;
    fails(&api, UNAVAILABLE);
    let mut followed = Followed::start(&api);
    followed.failed(1).await;
    assert!(followed.topology.borrow().is_unknown());
    fails(&api, Fault::Garbage);
    followed.failed(followed.failures() + 1).await;
    assert!(followed.topology.borrow().is_unknown());
    api.clear_faults();
    followed.names(&["d-0", "d-1"], &["p-0"]).await;
    followed.stop().await;
}

#[tokio::test]
async fn one_list_alone_is_no_topology() {
    let api = FakeApi::new();
    let listed = lists(&api);
    let mut followed = Followed::start(&api);
    // Both are empty, which is a topology too.
    timeout(PATIENCE, followed.topology.wait_for(|topology| !topology.is_unknown())).await.unwrap().unwrap();
    followed.names(&[], &[]).await;
    assert!(listed.load(Ordering::SeqCst) >= 2);
    followed.stop().await;
}

#[tokio::test]
async fn a_lost_api_server_leaves_the_last_topology() {
    let api = api().await;
    let mut followed = Followed::start(&api);
    followed.names(&["d-0", "d-1"], &["p-0"]).await;
    for fault in [UNAVAILABLE, Fault::Fail(403, "Forbidden"), Fault::Garbage] {
        fails(&api, fault);
        api.drop_watches();
        followed.failed(followed.failures()).await;
        assert!(!followed.topology.has_changed().unwrap());
    }
    // What happened meanwhile is heard of later.
    put(&api, "chat-prefill", "p-b", &["p-1"]).await;
    api.clear_faults();
    followed.names(&["d-0", "d-1"], &["p-0", "p-1"]).await;
    followed.stop().await;
}

#[tokio::test]
async fn watches_that_end_or_are_too_old_are_begun_anew() {
    let api = api().await;
    let mut followed = Followed::start(&api);
    followed.names(&["d-0", "d-1"], &["p-0"]).await;
    api.drop_watches();
    put(&api, "chat-decode", "d-a", &["d-0"]).await;
    followed.names(&["d-0"], &["p-0"]).await;
    let listed = lists(&api);
    api.expire_watches();
    put(&api, "chat-decode", "d-b", &["d-5"]).await;
    followed.names(&["d-0", "d-5"], &["p-0"]).await;
    assert!(listed.load(Ordering::SeqCst) > 0, "after 410 everything is listed again");
    // While nothing was watched, a slice went.
    fails(&api, UNAVAILABLE);
    api.drop_watches();
    followed.failed(followed.failures()).await;
    delete(&api, "d-a").await;
    api.expire_watches();
    api.clear_faults();
    followed.names(&["d-5"], &["p-0"]).await;
    followed.stop().await;
}

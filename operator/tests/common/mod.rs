//! An operator without its process, and an API that it works on.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use ampd_fakeapi::FakeApi;
use ampd_operator::context::Context;
use ampd_operator::controller::{self, Scope};
use ampd_operator::health::Health;
use ampd_operator::report;
use ampd_operator::service::dereference::Capabilities;
use ampd_render::Settings;
use ampd_telemetry::OperatorMetrics;
use kube::api::{Api, PostParams};
use parking_lot::RwLock;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use ampd_api::AMPDService;

pub const LIMIT: Duration = Duration::from_mins(2);
/// No write for so long is rest.
pub const REST: Duration = Duration::from_millis(1500);

pub fn world() -> FakeApi {
    let fake = FakeApi::new();
    for definition in &ampd_api::crds() {
        fake.define(definition);
    }
    fake
}

pub fn service() -> AMPDService {
    let spec = json!({"model": {"name": "m", "source": {"path": "/m.gguf"}}});
    let object = json!({
        "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService",
        "metadata": {"name": "chat", "namespace": "team"}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

pub async fn store(fake: &FakeApi) {
    services(fake).create(&PostParams::default(), &service()).await.unwrap();
}

/// The test's own view, without faults.
pub fn services(fake: &FakeApi) -> Api<AMPDService> {
    Api::namespaced(fake.admin("team"), "team")
}

/// An operator without its process: what leads.
pub fn operator(fake: &FakeApi) -> JoinHandle<()> {
    operator_with(fake, Capabilities::default())
}

/// The same in a cluster that knows more kinds.
pub fn operator_with(fake: &FakeApi, known: Capabilities) -> JoinHandle<()> {
    let client = fake.client("team");
    let metrics = Arc::new(OperatorMetrics::new().unwrap());
    let (reports, _reporting) = report::start(client.clone(), "ampd-operator", "test", metrics.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        settings: Settings::default(),
        certificates: Duration::from_hours(24),
        metrics,
        health: Arc::new(Health::default()),
        reports,
        known: RwLock::new(known),
    });
    let scope = Scope { client, namespace: None };
    tokio::spawn(controller::run(scope, context, 4, CancellationToken::new()))
}

/// Writes to anything but events, which are told again by whoever takes over.
pub fn writes(fake: &FakeApi) -> usize {
    fake.writes().iter().filter(|write| !write.path.contains("/events")).count()
}

/// Waits until the operator has written something and then rests.
pub async fn rests(fake: &FakeApi) {
    let settled = async {
        let (mut seen, mut since) = (writes(fake), tokio::time::Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = writes(fake);
            if now != seen {
                (seen, since) = (now, tokio::time::Instant::now());
            } else if is_told(fake) && since.elapsed() > REST {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, settled).await.expect("the operator comes to rest");
}

/// Whether the status speaks of the manifest as it is, and of no error: without a kubelet, pods start for ever.
pub fn is_told(fake: &FakeApi) -> bool {
    fake.object("/apis/ampd.dev/v1alpha1/namespaces/team/ampdservices/chat").is_none_or(|object| {
        let status = &object["status"];
        let ready = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
        ready.is_some_and(|ready| ready["reason"] == "Starting")
            && status["observedGeneration"] == object["metadata"]["generation"]
    })
}

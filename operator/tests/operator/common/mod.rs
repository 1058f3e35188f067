//! An operator without its process, and an API that it works on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;
use std::time::Duration;

use ampd_fakeapi::FakeApi;
use ampd_operator::context::Context;
use ampd_operator::controller::{self, Scope};
use ampd_operator::health::Health;
use ampd_operator::report;
use ampd_operator::service::dereference::Capabilities;
use ampd_operator::service::measurements::Measurements;
use ampd_render::{Settings, labels};
use ampd_telemetry::OperatorMetrics;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use parking_lot::RwLock;
use serde_json::{Value, json};
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
        measurements: Measurements::default(),
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

/// Stores an object of the core group, or of another.
pub async fn put(fake: &FakeApi, kind: &ApiResource, mut object: Value) {
    object["apiVersion"] = kind.api_version.as_str().into();
    object["kind"] = kind.kind.as_str().into();
    let api = Api::<DynamicObject>::namespaced_with(fake.admin("team"), "team", kind);
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

pub fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

/// So many decode pods of the newest revision, of a `ReplicaSet` as the cluster makes one for a Deployment. Those behind the first wait
/// for the budget.
pub async fn put_decode_pods(fake: &FakeApi, count: usize) {
    let deployments = fake.objects("/apis/apps/v1/namespaces/team/deployments");
    let decode = deployments.iter().find(|found| found["metadata"]["labels"][labels::COMPONENT] == "decode");
    let template = &decode.unwrap()["spec"]["template"];
    let sets = ApiResource {
        group: "apps".into(),
        api_version: "apps/v1".into(),
        ..core("ReplicaSet", "replicasets")
    };
    put(fake, &sets, json!({"metadata": {"name": "set"}})).await;
    let set = fake.object("/apis/apps/v1/namespaces/team/replicasets/set").unwrap();
    for index in 0..count {
        let gates = if index > 0 { json!([{"name": labels::BUDGET_GATE}]) } else { json!([]) };
        let pod = json!({
            "metadata": {
                "name": format!("chat-decode-{index}"), "labels": template["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": set["metadata"]["uid"],
                    "controller": true,
                }],
            },
            "spec": {"containers": [], "schedulingGates": gates},
        });
        put(fake, &core("Pod", "pods"), pod).await;
    }
}

//! What becomes of a service's children that others make, change or hold up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::time::Duration;

use ampd_fakeapi::FakeApi;
use ampd_render::labels;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::common::{LIMIT, operator, rests, services, store, world};

#[tokio::test]
async fn what_belongs_to_another_is_left_alone() {
    let fake = world();
    let services = Api::<k8s_openapi::api::core::v1::Service>::namespaced(fake.admin("team"), "team");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": "team"},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 5432}]},
    });
    services.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let path = "/api/v1/namespaces/team/services/chat";
    let before = fake.object(path);
    store(&fake).await;
    let running = operator(&fake);
    let told = async {
        while !is_conflict(&fake) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("the conflict is told");
    assert_eq!(fake.object(path), before);
    // The others are there all the same.
    assert_eq!(fake.objects("/apis/apps/v1/namespaces/team/deployments").len(), 2);
    services.delete("chat", &DeleteParams::default()).await.unwrap();
    rests(&fake).await;
    assert_eq!(fake.object(path).unwrap()["metadata"]["ownerReferences"][0]["name"], "chat");
    running.abort();
}

fn is_conflict(fake: &FakeApi) -> bool {
    let object = fake.object("/apis/ampd.dev/v1alpha1/namespaces/team/ampdservices/chat").unwrap();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["reason"] == "NameConflict")
}

/// The Deployments of the decode workers with their names.
fn decode(fake: &FakeApi) -> Vec<(String, Value)> {
    let all = fake.objects("/apis/apps/v1/namespaces/team/deployments");
    let decode = all.into_iter().filter(|found| found["metadata"]["labels"][labels::COMPONENT] == "decode");
    decode.map(|found| (found["metadata"]["name"].as_str().unwrap().to_owned(), found)).collect()
}

fn deployments(fake: &FakeApi) -> Api<Deployment> {
    Api::namespaced(fake.admin("team"), "team")
}

#[tokio::test]
async fn what_others_add_to_lists_is_taken_out() {
    let fake = world();
    store(&fake).await;
    let running = operator(&fake);
    rests(&fake).await;
    let (name, before) = decode(&fake).remove(0);
    let mut containers = before["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["env"].as_array_mut().unwrap().push(json!({"name": "LD_PRELOAD", "value": "x"}));
    containers.as_array_mut().unwrap().push(json!({"name": "theirs", "image": "theirs"}));
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    deployments(&fake).patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    assert_ne!(decode(&fake).remove(0).1["spec"], before["spec"]);
    let restored = fake.until("the list is as before", LIMIT, |fake| {
        (decode(fake).remove(0).1["spec"] == before["spec"]).then_some(())
    });
    restored.await.unwrap();
    let _ = fake.take_writes();
    rests_without_writes(&fake).await;
    running.abort();
}

async fn rests_without_writes(fake: &FakeApi) {
    tokio::time::sleep(crate::common::REST).await;
    assert_eq!(crate::common::writes(fake), 0);
}

#[tokio::test]
async fn the_present_revision_grows_while_the_newest_comes_up() {
    let fake = world();
    store(&fake).await;
    let running = operator(&fake);
    rests(&fake).await;
    let (present, _) = decode(&fake).remove(0);
    let served = json!({"status": {"conditions": [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]}});
    deployments(&fake).patch_status(&present, &PatchParams::default(), &Patch::Merge(&served)).await.unwrap();
    let replicas = |name: &str| {
        let found = decode(&fake).into_iter().find(|(of, _)| of == name);
        found.map(|(_, deployment)| deployment["spec"]["replicas"].as_i64().unwrap())
    };
    let change = async |spec: Value| {
        let change = json!({"spec": spec});
        services(&fake).patch("chat", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
        rests(&fake).await;
    };
    change(json!({"model": {"source": {"path": "/other.gguf"}}})).await;
    assert_eq!((decode(&fake).len(), replicas(&present)), (2, Some(1)));
    change(json!({"decode": {"replicas": {"min": 3}}})).await;
    assert_eq!(replicas(&present), Some(3));
    // It is not made smaller: its pods serve.
    change(json!({"decode": {"replicas": {"min": 2}}})).await;
    assert_eq!(replicas(&present), Some(3));
    running.abort();
}

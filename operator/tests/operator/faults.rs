//! The operator against an API that fails: whatever happens on the way, the end is the same, and then there are no writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ampd_fakeapi::{Call, FakeApi, Fault};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::common::{LIMIT, REST, operator, rests, services, store, world, writes};
use ampd_api::AMPDService;

/// How long an API misbehaves, seconds.
const DISTURBED_S: usize = 30;

/// Whatever the operator writes, and services.
const COLLECTIONS: [&str; 10] = [
    "api/v1/pods",
    "api/v1/secrets",
    "api/v1/services",
    "api/v1/serviceaccounts",
    "apis/apps/v1/deployments",
    "apis/networking.k8s.io/v1/networkpolicies",
    "apis/policy/v1/poddisruptionbudgets",
    "apis/rbac.authorization.k8s.io/v1/roles",
    "apis/rbac.authorization.k8s.io/v1/rolebindings",
    "apis/ampd.dev/v1alpha1/ampdservices",
];

/// Everything in the cluster without what differs between two runs.
fn state(fake: &FakeApi) -> BTreeMap<String, Value> {
    COLLECTIONS
        .iter()
        .flat_map(|collection| {
            let (group, resource) = collection.rsplit_once('/').unwrap();
            fake.objects(&format!("/{group}/namespaces/team/{resource}"))
        })
        .map(|mut object| {
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            let metadata = object["metadata"].as_object_mut().unwrap();
            // Generations count the changes on the way.
            for field in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "generation",
                "managedFields",
                "ownerReferences",
            ] {
                metadata.remove(field);
            }
            if let Some(since) = object.pointer_mut("/metadata/annotations/ampd.dev~1draining-since") {
                *since = json!("once");
            }
            if object["kind"] == "Secret" {
                let files: BTreeSet<String> = object["data"].as_object().unwrap().keys().cloned().collect();
                object["data"] = json!(files);
            }
            if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
                conditions.sort_by_key(|condition| condition["type"].to_string());
                for condition in conditions {
                    condition.as_object_mut().unwrap().remove("lastTransitionTime");
                }
            }
            (name, object)
        })
        .collect()
}

/// What is done to the service once it is there.
#[derive(Debug, Clone, Copy)]
enum Change {
    Create,
    Update,
    /// Fewer decode workers, one of whose pods waits for the budget, while somebody has added to their Deployment.
    Shrink,
    Delete,
}

impl Change {
    /// Up to the change without any fault.
    async fn prepare(self, fake: &FakeApi) {
        if matches!(self, Self::Create) {
            return;
        }
        store(fake).await;
        if matches!(self, Self::Shrink) {
            let wish =
                json!({"spec": {"accelerator": {"budget": {"max": 4}}, "decode": {"replicas": {"min": 3}}}});
            services(fake).patch("chat", &PatchParams::default(), &Patch::Merge(&wish)).await.unwrap();
        }
        let running = operator(fake);
        rests(fake).await;
        running.abort();
        let _ = running.await;
        if matches!(self, Self::Shrink) {
            crate::common::put_decode_pods(fake, 3).await;
        }
        let _ = fake.take_writes();
    }

    async fn make(self, fake: &FakeApi) {
        match self {
            Self::Create => store(fake).await,
            Self::Update => {
                let change = json!({"spec": {
                    "model": {"source": {"path": "/other.gguf"}},
                    "decode": {"replicas": {"min": 3}}, "security": {"network": {"policies": false}},
                }});
                services(fake).patch("chat", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
            }
            Self::Shrink => {
                let deployments = Api::<Deployment>::namespaced(fake.admin("team"), "team");
                for found in deployments.list(&ListParams::default()).await.unwrap() {
                    let added = json!({"spec": {"template": {"spec": {"hostNetwork": true}}}});
                    let name = found.metadata.name.unwrap();
                    deployments.patch(&name, &PatchParams::default(), &Patch::Merge(&added)).await.unwrap();
                }
                let wish = json!({"spec": {"decode": {"replicas": {"min": 2}}}});
                services(fake).patch("chat", &PatchParams::default(), &Patch::Merge(&wish)).await.unwrap();
            }
            Self::Delete => {
                services(fake).delete("chat", &DeleteParams::default()).await.unwrap();
            }
        }
    }
}

/// The end of an undisturbed run and how many writes it took.
async fn undisturbed(change: Change) -> (BTreeMap<String, Value>, usize) {
    let fake = world();
    change.prepare(&fake).await;
    change.make(&fake).await;
    let running = operator(&fake);
    rests(&fake).await;
    running.abort();
    (state(&fake), writes(&fake))
}

/// One run in which the operator is ended at write number `at`, before or after that is carried out.
async fn ended_at(change: Change, at: usize, carried_out: bool) -> BTreeMap<String, Value> {
    let fake = world();
    change.prepare(&fake).await;
    change.make(&fake).await;
    let (count, reached) = (AtomicUsize::new(0), Arc::new(Notify::new()));
    let told = reached.clone();
    fake.set_faults(move |call: &Call| {
        if call.verb.reads() || call.path.contains("/events") || count.fetch_add(1, Ordering::SeqCst) != at {
            return Fault::Pass;
        }
        told.notify_one();
        if carried_out { Fault::CommitThenDrop } else { Fault::DropBefore }
    });
    let running = operator(&fake);
    tokio::time::timeout(LIMIT, reached.notified()).await.expect("the write is reached");
    running.abort();
    let _ = running.await;
    fake.clear_faults();
    let next = operator(&fake);
    rests(&fake).await;
    let _ = fake.take_writes();
    tokio::time::sleep(REST).await;
    assert_eq!(writes(&fake), 0, "{change:?}, ended at {at}: writes at rest");
    next.abort();
    state(&fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_ended_at_any_write_leads_to_the_same_end() {
    for change in [Change::Create, Change::Update, Change::Shrink, Change::Delete] {
        let (expected, count) = undisturbed(change).await;
        // What is deleted is the garbage collector's.
        assert_eq!(count == 0, matches!(change, Change::Delete), "{change:?} has {count} writes");
        eprintln!("{change:?}: {count} writes");
        let mut runs = JoinSet::new();
        for (at, carried_out) in (0..count).flat_map(|at| [(at, false), (at, true)]) {
            runs.spawn(async move { (at, carried_out, ended_at(change, at, carried_out).await) });
        }
        while let Some(run) = runs.join_next().await {
            let (at, carried_out, end) = run.unwrap();
            for name in expected.keys().chain(end.keys()) {
                assert_eq!(
                    end.get(name),
                    expected.get(name),
                    "{change:?}, ended at write {at}, carried out: {carried_out}: {name}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_comes_and_goes_leads_to_the_same_end() {
    let (expected, _) = undisturbed(Change::Create).await;
    let mut runs = JoinSet::new();
    for fault in ["conflict", "busy", "broken", "watches", "expired", "down"] {
        runs.spawn(async move { (fault, disturbed(fault).await) });
    }
    while let Some(run) = runs.join_next().await {
        let (fault, end) = run.unwrap();
        assert_eq!(end, expected, "{fault}");
    }
}

/// The end of a run that is disturbed for half a minute.
async fn disturbed(fault: &str) -> BTreeMap<String, Value> {
    let fake = world();
    store(&fake).await;
    let calls = AtomicUsize::new(0);
    // Every third write, and every fifth read.
    let sometimes = move |call: &Call| {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        number.is_multiple_of(if call.verb.reads() { 5 } else { 3 })
    };
    match fault {
        "conflict" => fake.set_faults(move |call| {
            if !call.verb.reads() && sometimes(call) { Fault::Fail(409, "Conflict") } else { Fault::Pass }
        }),
        "busy" => fake.set_faults(move |call| {
            let busy = sometimes(call);
            if busy { Fault::Fail(429, "TooManyRequests") } else { Fault::Pass }
        }),
        "broken" => fake.set_faults(move |call| {
            let broken = sometimes(call);
            if broken { Fault::Fail(500, "InternalError") } else { Fault::Pass }
        }),
        "down" => fake.set_down(true),
        _ => {}
    }
    let running = operator(&fake);
    for _ in 0..DISTURBED_S {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match fault {
            "watches" => fake.drop_watches(),
            "expired" => fake.expire_watches(),
            _ => {}
        }
    }
    fake.clear_faults();
    fake.set_down(false);
    rests(&fake).await;
    running.abort();
    state(&fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_object_that_cannot_be_read_holds_nobody_up() {
    let fake = world();
    let broken = json!({
        "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService",
        "metadata": {"name": "broken", "namespace": "team"}, "spec": {"model": 5},
    });
    let resource = kube::api::ApiResource::erase::<AMPDService>(&());
    let api = Api::<kube::api::DynamicObject>::namespaced_with(fake.admin("team"), "team", &resource);
    api.create(&PostParams::default(), &serde_json::from_value(broken).unwrap()).await.unwrap();
    store(&fake).await;
    let running = operator(&fake);
    rests(&fake).await;
    let told = fake.until("an event tells of it", LIMIT, |fake| {
        let events = fake.objects("/apis/events.k8s.io/v1/namespaces/team/events");
        events.into_iter().find(|event| event["reason"] == "InvalidObject")
    });
    assert_eq!(told.await.unwrap()["regarding"]["name"], "broken");
    running.abort();
}

//! What the operator does is what the chart lets it do, no less and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ampd_fakeapi::{Call, FakeApi, Fault, Verb};
use ampd_operator::access::{self, Rule};
use ampd_operator::service::dereference::Capabilities;
use ampd_operator::service::kinds::Kind;
use ampd_render::labels;
use kube::ResourceExt as _;
use kube::api::{ApiResource, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::{core, operator_with, put, put_decode_pods, rests, services, store, world};

/// Group and resource of an address, with the subresource.
fn target(path: &str) -> (String, String) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts[..] {
        ["api", _, ref rest @ ..] => ("", rest.to_vec()),
        ["apis", group, _, ref rest @ ..] => (group, rest.to_vec()),
        _ => panic!("{path}"),
    };
    let rest = if rest.first() == Some(&"namespaces") && rest.len() > 2 { rest[2..].to_vec() } else { rest };
    let resource = match rest[..] {
        [resource, _, sub] => format!("{resource}/{sub}"),
        [resource, ..] => resource.to_owned(),
        [] => panic!("{path}"),
    };
    (group.to_owned(), resource)
}

/// A group, a resource and a verb.
type Right = (String, String, String);

fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.into(), resource.into(), verb.into())
}

fn rights_of(rules: &[Rule]) -> BTreeSet<Right> {
    rules
        .iter()
        .flat_map(|rule| {
            let resources =
                rule.api_groups.iter().flat_map(|group| rule.resources.iter().map(move |of| (group, of)));
            resources.flat_map(|(group, of)| rule.verbs.iter().map(move |verb| right(group, of, verb)))
        })
        .collect()
}

/// The rights that a call takes.
fn taken(call: &Call) -> Vec<Right> {
    let verbs: &[&str] = match call.verb {
        Verb::Get => &["get"],
        Verb::List => &["list"],
        Verb::Watch => &["watch"],
        Verb::Create => &["create"],
        Verb::Replace => &["update"],
        // What is not there yet is made by it.
        Verb::Apply if !call.path.ends_with("/status") => &["patch", "create"],
        Verb::Apply | Verb::Patch => &["patch"],
        Verb::Delete => &["delete"],
        Verb::DeleteCollection => &["deletecollection"],
    };
    let (group, resource) = target(&call.path);
    verbs.iter().map(|verb| right(&group, &resource, verb)).collect()
}

async fn change(fake: &FakeApi, spec: Value) {
    let change = json!({"spec": spec});
    services(fake).patch("chat", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
}

/// A child of the service that nothing wants.
fn orphan(uid: &str) -> Value {
    json!({
        "metadata": {
            "name": "orphan", "namespace": "team", "labels": labels::service("chat"),
            "ownerReferences": [
                {"apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "name": "chat", "uid": uid, "controller": true},
            ],
        },
    })
}

/// All that the operator asks for in the life of a service that has everything.
async fn calls_of_a_life() -> BTreeSet<Right> {
    let fake = world();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let calls = seen.clone();
    fake.set_faults(move |call| {
        calls.lock().extend(taken(call));
        Fault::Pass
    });
    put(&fake, &core("ConfigMap", "configmaps"), json!({"metadata": {"name": "profile"}})).await;
    put(
        &fake,
        &core("PersistentVolumeClaim", "persistentvolumeclaims"),
        json!({"metadata": {"name": "models"}}),
    )
    .await;
    store(&fake).await;
    let source = json!({"path": null, "persistentVolumeClaim": {"claimName": "models", "path": "m.gguf"}});
    let spec = json!({
        "model": {"source": source}, "planner": {"profile": {"name": "profile", "key": "profile.json"}}, "decode": {"replicas": {"min": 2}},
    });
    change(&fake, spec).await;
    let scale = json!({"metadata": {"name": "chat"}, "spec": {"replicas": 1}});
    put(&fake, &ApiResource::erase::<ampd_api::AMPDPrefillScale>(&()), scale).await;
    let uid = services(&fake).get("chat").await.unwrap().uid().unwrap();
    for kind in Kind::ALL {
        put(&fake, &kind.resource(), orphan(&uid)).await;
    }
    let running = operator_with(&fake, Capabilities { pod_monitor: true, prometheus_rule: true });
    rests(&fake).await;
    put_decode_pods(&fake, 1).await;
    change(&fake, json!({"decode": {"replicas": {"min": 1}}})).await;
    rests(&fake).await;
    // The keys go when no pod needs them any more.
    change(&fake, json!({"security": {"api": {"auth": "Anonymous"}}})).await;
    rests(&fake).await;
    running.abort();
    std::mem::take(&mut *seen.lock())
}

/// Rights that the operator has for others, or for what does not come up in a short life.
fn of_others() -> BTreeSet<Right> {
    BTreeSet::from([
        // One who gives rights must have them: sidecars look for their peers.
        right("discovery.k8s.io", "endpointslices", "get"),
        right("discovery.k8s.io", "endpointslices", "list"),
        right("discovery.k8s.io", "endpointslices", "watch"),
        // An event that comes again within minutes is counted.
        right("events.k8s.io", "events", "patch"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_what_it_does_and_nothing_else() {
    let (rights, mut needed) = (rights_of(access::SERVICES), calls_of_a_life().await);
    needed.extend(of_others());
    let difference =
        |one: &BTreeSet<Right>, other: &BTreeSet<Right>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(difference(&needed, &rights), [], "what it does and may not");
    assert_eq!(difference(&rights, &needed), [], "what it may and does not");
}

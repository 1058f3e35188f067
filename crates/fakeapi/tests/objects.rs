//! Objects through kube's own `Api`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::time::Duration;

use ampd_fakeapi::{FakeApi, Fault, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy, ResourceExt,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn deployment(name: &str, replicas: i32) -> Deployment {
    from(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}},
        },
    }))
}

fn map(name: &str, data: &Value) -> ConfigMap {
    from(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data,
    }))
}

fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn writes_with_an_old_version_lose() {
    let fake = FakeApi::new();
    let api: Api<ConfigMap> = Api::default_namespaced(fake.client("a"));
    let first = api.create(&PostParams::default(), &map("m", &json!({"x": "1"}))).await.unwrap();
    assert_eq!(first.uid().unwrap(), "00000000-0000-4000-8000-000000000001");
    assert_eq!(first.namespace().as_deref(), Some("a"));
    assert_eq!(code(api.create(&PostParams::default(), &first).await), (400, "BadRequest".into()));
    let again = api.create(&PostParams::default(), &map("m", &json!({}))).await;
    assert_eq!(code(again), (409, "AlreadyExists".into()));

    let mut next = first.clone();
    next.data = Some([("x".to_owned(), "2".to_owned())].into());
    let second = api.replace("m", &PostParams::default(), &next).await.unwrap();
    assert_ne!(second.resource_version(), first.resource_version());
    assert_eq!(code(api.replace("m", &PostParams::default(), &next).await), (409, "Conflict".into()));
    assert_eq!(code(api.replace("n", &PostParams::default(), &map("n", &json!({}))).await).0, 404);
    let codes: Vec<(Verb, u16, bool)> =
        fake.writes().iter().map(|write| (write.verb, write.code, write.changed)).collect();
    let expected = [
        (Verb::Create, 201, true),
        (Verb::Create, 400, false),
        (Verb::Create, 409, false),
        (Verb::Replace, 200, true),
        (Verb::Replace, 409, false),
        (Verb::Replace, 404, false),
    ];
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn an_apply_that_changes_nothing_writes_nothing() {
    let fake = FakeApi::new();
    let api: Api<Deployment> = Api::default_namespaced(fake.client("a"));
    let apply = async |manager: &str, object: &Value| {
        api.patch("d", &PatchParams::apply(manager), &Patch::Apply(object)).await
    };
    let object = |body: &Value| {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        object
    };
    let wanted = object(&json!({"spec": {"replicas": 2, "paused": true}, "status": {"replicas": 7}}));
    let first = apply("us", &wanted).await.unwrap();
    assert_eq!(first.metadata.generation, Some(1));
    assert!(first.status.is_none(), "the status is written elsewhere");
    let second = apply("us", &wanted).await.unwrap();
    assert_eq!(second, first);
    assert_eq!(fake.writes().iter().map(|write| write.changed).collect::<Vec<_>>(), [true, false]);

    let third = apply("us", &object(&json!({"spec": {"replicas": 2}}))).await.unwrap();
    assert_eq!((third.metadata.generation, third.spec.unwrap().paused), (Some(2), None));
    let other = apply("them", &object(&json!({"spec": {"replicas": 3}}))).await;
    assert_eq!(code(other), (409, "Conflict".into()));
}

#[tokio::test]
async fn status_and_scale_are_apart() {
    let fake = FakeApi::new();
    let api: Api<Deployment> = Api::default_namespaced(fake.client("a"));
    api.create(&PostParams::default(), &deployment("d", 2)).await.unwrap();
    let status = json!({"spec": {"replicas": 9}, "status": {"replicas": 2, "readyReplicas": 1}});
    let with_status = api.patch_status("d", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(with_status.metadata.generation, Some(1));
    assert_eq!(with_status.spec.unwrap().replicas, Some(2));

    let scale = api.get_scale("d").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let status = scale.status.unwrap();
    assert_eq!((status.replicas, status.selector.as_deref()), (2, Some("app=d")));
    let wanted = json!({"spec": {"replicas": 5}});
    api.patch_scale("d", &PatchParams::default(), &Patch::Merge(wanted)).await.unwrap();
    let scaled = api.get("d").await.unwrap();
    assert_eq!((scaled.metadata.generation, scaled.spec.unwrap().replicas), (Some(2), Some(5)));
    assert_eq!(scaled.status.unwrap().ready_replicas, Some(1));
    let mut stale = api.get_scale("d").await.unwrap();
    stale.metadata.resource_version = Some("1".into());
    assert_eq!(code(api.replace_scale("d", &PostParams::default(), &stale).await).0, 409);
}

#[tokio::test]
async fn finalizers_hold_and_owners_take_along() {
    let fake = FakeApi::new();
    let api: Api<ConfigMap> = Api::default_namespaced(fake.client("a"));
    let mut owner = map("owner", &json!({}));
    owner.metadata.finalizers = Some(vec!["ampd.dev/hold".into()]);
    let owner = api.create(&PostParams::default(), &owner).await.unwrap();
    let mut child = map("child", &json!({}));
    child.metadata.owner_references = Some(vec![from(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid().unwrap(),
    }))]);
    api.create(&PostParams::default(), &child).await.unwrap();

    let held = api.delete("owner", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    let again = api.delete("owner", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(again, held);
    let more = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "ampd.dev/more"}]);
    let more = Patch::Json::<()>(serde_json::from_value(more).unwrap());
    assert_eq!(code(api.patch("owner", &PatchParams::default(), &more).await).0, 422);
    assert_eq!(fake.names().len(), 2);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("owner", &PatchParams::default(), &free).await.unwrap();
    assert_eq!(fake.names(), Vec::<String>::new());

    let owner = api.create(&PostParams::default(), &map("owner", &json!({}))).await.unwrap();
    let reference = &mut child.metadata.owner_references.as_mut().unwrap()[0];
    reference.uid = owner.uid().unwrap();
    api.create(&PostParams::default(), &child).await.unwrap();
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    assert!(api.delete("owner", &orphan).await.unwrap().is_right());
    assert_eq!(fake.names(), ["configmaps/a/child"]);
}

#[tokio::test]
async fn lists_select_and_collections_go() {
    let fake = FakeApi::new();
    let api: Api<Deployment> = Api::default_namespaced(fake.client("a"));
    for name in ["x", "y", "z"] {
        api.create(&PostParams::default(), &deployment(name, 1)).await.unwrap();
    }
    let some = ListParams::default().labels("app in (x,z)");
    let found = api.list(&some).await.unwrap();
    assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["x", "z"]);
    let metadata = api.list_metadata(&ListParams::default().fields("metadata.name=y")).await.unwrap();
    assert_eq!(metadata.items.len(), 1);
    assert_eq!(metadata.items[0].metadata.labels.as_ref().unwrap()["app"], "y");
    let elsewhere: Api<Deployment> = Api::namespaced(fake.client("a"), "b");
    assert!(elsewhere.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert_eq!(Api::<Deployment>::all(fake.client("b")).list(&some).await.unwrap().items.len(), 2);
    api.delete_collection(&DeleteParams::default(), &some).await.unwrap();
    assert_eq!(fake.names(), ["deployments.apps/a/y"]);
    fake.set_missing("apps", true);
    assert_eq!(code(api.list(&some).await).0, 404);
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let fake = FakeApi::new();
    let api: Api<ConfigMap> = Api::default_namespaced(fake.client("a"));
    let names = || fake.names().len();
    let create = async |name: &str| api.create(&PostParams::default(), &map(name, &json!({}))).await;
    fake.set_faults(|call| match (call.verb, call.path.as_str()) {
        (Verb::Create, "/api/v1/namespaces/a/configmaps") => Fault::Fail(500, "InternalError"),
        _ => Fault::Pass,
    });
    assert_eq!(code(create("m").await), (500, "InternalError".into()));
    fake.set_faults(|_| Fault::DropBefore);
    assert!(matches!(create("m").await, Err(kube::Error::Service(_))));
    assert_eq!((names(), fake.writes().len()), (0, 0));
    fake.set_faults(|_| Fault::CommitThenDrop);
    assert!(matches!(create("m").await, Err(kube::Error::Service(_))));
    assert_eq!((names(), fake.take_writes().len()), (1, 1));

    fake.set_faults(|_| Fault::Delay(Duration::from_millis(50)));
    let impatient = tokio::time::timeout(Duration::from_millis(5), create("late")).await;
    assert!(impatient.is_err());
    assert_eq!(names(), 1);
    fake.until("the late one", Duration::from_secs(10), |fake| (fake.names().len() == 2).then_some(()))
        .await
        .unwrap();
    fake.set_faults(|_| Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(20), create("never")).await.is_err());
    fake.clear_faults();
    fake.set_down(true);
    assert!(matches!(create("n").await, Err(kube::Error::Service(_))));
    Api::<ConfigMap>::default_namespaced(fake.admin("a")).get("m").await.unwrap();
    fake.set_down(false);
    create("n").await.unwrap();
    assert_eq!(names(), 3);
}

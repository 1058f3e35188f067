//! Watches through kube's watcher and `Controller`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ampd_fakeapi::{FakeApi, Verb};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Resource as _, ResourceExt as _};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn map(name: &str, label: &str) -> ConfigMap {
    let map = json!({"metadata": {"name": name, "labels": {"kind": label}}});
    serde_json::from_value(map).unwrap()
}

/// The names that the watcher believes in, once they are these.
async fn believes(
    events: &mut (impl Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin),
    known: &mut BTreeSet<String>,
    expected: &[&str],
) -> (usize, Vec<String>) {
    let (mut starts, mut errors) = (0, Vec::new());
    let following = async {
        let mut fresh = None;
        loop {
            let complete = known.iter().map(String::as_str).eq(expected.iter().copied());
            if complete && fresh.is_none() {
                return;
            }
            match events.next().await.unwrap() {
                Ok(watcher::Event::Init) => {
                    starts += 1;
                    fresh = Some(BTreeSet::new());
                }
                Ok(watcher::Event::InitApply(object)) => {
                    fresh.as_mut().unwrap().insert(object.name_any());
                }
                Ok(watcher::Event::InitDone) => *known = fresh.take().unwrap(),
                Ok(watcher::Event::Apply(object)) => _ = known.insert(object.name_any()),
                Ok(watcher::Event::Delete(object)) => _ = known.remove(&object.name_any()),
                Err(error) => errors.push(error.to_string()),
            }
        }
    };
    tokio::time::timeout(LIMIT, following).await.unwrap();
    (starts, errors)
}

#[tokio::test]
async fn watches_follow_break_and_expire() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let fake = FakeApi::new();
        let admin: Api<ConfigMap> = Api::default_namespaced(fake.admin("a"));
        let make = async |name: &str| admin.create(&PostParams::default(), &map(name, "x")).await.unwrap();
        make("one").await;
        admin.create(&PostParams::default(), &map("unselected", "y")).await.unwrap();
        let api: Api<ConfigMap> = Api::default_namespaced(fake.client("a"));
        let mut events = Box::pin(watcher(api, config.labels("kind=x")));
        let mut known = BTreeSet::new();
        assert_eq!(believes(&mut events, &mut known, &["one"]).await.0, 1);
        make("two").await;
        assert_eq!(believes(&mut events, &mut known, &["one", "two"]).await, (0, Vec::new()));
        let other = Patch::Merge(json!({"metadata": {"labels": {"kind": "y"}}}));
        admin.patch("one", &PatchParams::default(), &other).await.unwrap();
        assert_eq!(believes(&mut events, &mut known, &["two"]).await.0, 0, "it is selected no more");

        fake.drop_watches();
        make("three").await;
        let (starts, errors) = believes(&mut events, &mut known, &["three", "two"]).await;
        assert_eq!((starts, errors.len()), (0, 1), "a watch that broke goes on where it was: {errors:?}");

        fake.expire_watches();
        admin.delete("two", &DeleteParams::default()).await.unwrap();
        let (starts, errors) = believes(&mut events, &mut known, &["three"]).await;
        assert_eq!((starts, errors.len()), (1, 1), "{errors:?}");
        assert!(errors[0].contains("too old"), "{errors:?}");

        fake.set_down(true);
        admin.delete("three", &DeleteParams::default()).await.unwrap();
        let error = tokio::time::timeout(LIMIT, events.next()).await.unwrap().unwrap();
        assert!(error.is_err());
        fake.set_down(false);
        believes(&mut events, &mut known, &[]).await;
    }
}

struct Context {
    client: kube::Client,
    reconciles: AtomicUsize,
}

/// A child map for each Deployment.
async fn reconcile(parent: Arc<Deployment>, context: Arc<Context>) -> Result<Action, kube::Error> {
    context.reconciles.fetch_add(1, Ordering::SeqCst);
    let api: Api<ConfigMap> = Api::default_namespaced(context.client.clone());
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": parent.name_any(), "ownerReferences": [parent.controller_owner_ref(&()).unwrap()]},
        "data": {"replicas": parent.spec.as_ref().unwrap().replicas.unwrap_or_default().to_string()},
    });
    api.patch(&parent.name_any(), &PatchParams::apply("test").force(), &Patch::Apply(child)).await?;
    Ok(Action::await_change())
}

#[tokio::test]
async fn a_controller_sees_what_becomes_of_its_children() {
    let fake = FakeApi::new();
    let client = fake.client("a");
    let context = Arc::new(Context { client: client.clone(), reconciles: AtomicUsize::new(0) });
    let controller =
        Controller::new(Api::<Deployment>::default_namespaced(client.clone()), watcher::Config::default())
            .owns(Api::<ConfigMap>::default_namespaced(client), watcher::Config::default())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(50)), context.clone())
            .for_each(|_| std::future::ready(()));
    let controller = tokio::spawn(controller);

    let parents: Api<Deployment> = Api::default_namespaced(fake.admin("a"));
    let children: Api<ConfigMap> = Api::default_namespaced(fake.admin("a"));
    let parent = json!({"metadata": {"name": "p"}, "spec": {"replicas": 1, "selector": {}, "template": {}}});
    let parent: Deployment = serde_json::from_value(parent).unwrap();
    parents.create(&PostParams::default(), &parent).await.unwrap();
    let replicas = |fake: &FakeApi| {
        let child = fake.object("/api/v1/namespaces/a/configmaps/p")?;
        Some(child["data"]["replicas"].as_str()?.to_owned())
    };
    fake.until("the child", LIMIT, replicas).await.unwrap();
    let first = children.get("p").await.unwrap().uid();
    children.delete("p", &DeleteParams::default()).await.unwrap();
    fake.until("the child again", LIMIT, |fake| {
        let child = fake.object("/api/v1/namespaces/a/configmaps/p")?;
        (child["metadata"]["uid"] != Value::from(first.clone())).then_some(())
    })
    .await
    .unwrap();

    fake.expire_watches();
    let scaled = Patch::Merge(json!({"spec": {"replicas": 4}}));
    parents.patch("p", &PatchParams::default(), &scaled).await.unwrap();
    fake.until("the change", LIMIT, |fake| (replicas(fake)? == "4").then_some(())).await.unwrap();

    // Its own writes come back as changes; without further ones it comes to rest.
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = context.reconciles.load(Ordering::SeqCst);
        if now == last {
            break;
        }
        assert!(now < 50, "it never comes to rest");
        last = now;
    }
    let writes = fake.writes();
    assert!(writes.iter().all(|write| write.verb == Verb::Apply && write.code < 300), "{writes:?}");
    assert_eq!(writes.iter().filter(|write| write.changed).count(), 3, "{writes:?}");

    parents.delete("p", &DeleteParams::default()).await.unwrap();
    fake.until("nothing is left", LIMIT, |fake| fake.names().is_empty().then_some(())).await.unwrap();
    controller.abort();
    assert!(controller.await.unwrap_err().is_cancelled());
}

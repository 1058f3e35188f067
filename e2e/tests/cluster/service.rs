//! A service on a real Kubernetes: it serves, and changes while it serves.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ampd_api::AMPDService;
use ampd_e2e::cluster::operator::{self, leader};
use ampd_e2e::cluster::service::{Served, condition};
use ampd_e2e::cluster::{Namespace, WORKER_IMAGE, wait_for, with_namespace};
use ampd_testkit::official::{Plan, converse_with};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Config, ResourceExt as _};
use rustix::process::Signal;
use serde_json::json;

use crate::ONE;

const LIMIT: Duration = Duration::from_mins(3);
const SERVICE: &str = include_str!("../../../manifests/smollm2.yaml");

/// The example manifest with one prefill worker.
fn manifest() -> String {
    let text = SERVICE.replacen("replicas: {min: 2}", "replicas: {min: 1}", 1);
    assert_ne!(text, SERVICE);
    text
}

fn plan(session: &str, conversations: usize, rounds: usize) -> Plan<'_> {
    Plan { session, conversations, rounds, max_tokens: 16, gaps: false }
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn the_example_is_ready_and_holds_conversations() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        let start = Instant::now();
        namespace.apply(SERVICE).await?;
        namespace.settled("smollm2", LIMIT).await?;
        let ready = start.elapsed();
        let served = namespace.served("smollm2").await?;
        let rounds = converse_with(&served.url, &served.key, plan("a", 4, 3)).await?;
        eprintln!(
            "ready after {:.1} s, {} rounds after {:.1} s",
            ready.as_secs_f64(),
            rounds.len(),
            start.elapsed().as_secs_f64()
        );
        for round in &rounds {
            assert_eq!(round.cached_tokens > 0, round.number > 1, "{round:?}");
        }
        assert!(converse_with(&served.url, "no such key", plan("b", 1, 1)).await.is_err());
        Ok(())
    })
    .await
}

/// Conversations that go on until they are told to stop; gives the number of rounds, none of which failed.
async fn talk(served: &Served, stop: &AtomicBool) -> anyhow::Result<usize> {
    let (mut rounds, mut batch) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let session = format!("talk-{batch}");
        let talked = converse_with(&served.url, &served.key, plan(&session, 8, 4)).await;
        // Told at once, so that one sees during which change it was.
        rounds += talked.inspect_err(|error| eprintln!("{session}: {error:#}"))?.len();
        batch += 1;
    }
    Ok(rounds)
}

/// Makes a change and waits until the service is as it says, and tells how long that took.
async fn changes(namespace: &Namespace, what: &str, change: serde_json::Value) -> anyhow::Result<()> {
    let start = Instant::now();
    namespace.change("smollm2", change).await?;
    namespace.settled("smollm2", LIMIT).await?;
    eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn nothing_fails_while_a_service_changes() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        namespace.apply(&manifest()).await?;
        namespace.settled("smollm2", LIMIT).await?;
        let served = namespace.served("smollm2").await?;
        let stop = AtomicBool::new(false);
        let changing = async {
            let result = all_changes(namespace, &served).await;
            stop.store(true, Ordering::Relaxed);
            result
        };
        let (rounds, changed) = tokio::join!(talk(&served, &stop), changing);
        changed?;
        let rounds = rounds?;
        eprintln!("{rounds} rounds, 0 failed");
        assert!(rounds >= 16, "{rounds} rounds");
        let measured = |service: &AMPDService| service.status.clone()?.slo;
        let told =
            |service: Option<&AMPDService>| service.and_then(measured).is_some_and(|slo| slo.rounds > 0);
        namespace.wait_for("smollm2", "tells of its rounds", LIMIT, told).await?;
        let service = namespace.api::<AMPDService>().get("smollm2").await?;
        eprintln!("{:?}; {:?}", measured(&service), condition(Some(&service), "SLOMet"));
        Ok(())
    })
    .await
}

async fn all_changes(namespace: &Namespace, served: &Served) -> anyhow::Result<()> {
    let replicas = |role: &str, count: u32| json!({"spec": {role: {"replicas": {"min": count}}}});
    changes(namespace, "decode 2 -> 3", replicas("decode", 3)).await?;
    // One after the other, so that each is bound where the least is: no pod is left without a session.
    for session in ["held-1", "held-2", "held-3", "held-4", "held-5"] {
        converse_with(&served.url, &served.key, plan(session, 1, 2)).await?;
    }
    let watched = tokio::spawn(last_drain(namespace.clone()));
    changes(namespace, "decode 3 -> 1", replicas("decode", 1)).await?;
    let drain = watched.await??;
    eprintln!("{drain}");
    assert!(!drain.contains("; 0 sessions have moved"), "{drain}");
    changes(namespace, "prefill 1 -> 2", replicas("prefill", 2)).await?;
    changes(namespace, "prefill 2 -> 1", replicas("prefill", 1)).await?;
    kill_leader(namespace).await?;
    let roll = json!({"spec": {"image": {"reference": format!("{WORKER_IMAGE}-next")}}});
    changes(namespace, "another image, with the operator ended before", roll).await?;
    with_frozen_leader(namespace, "decode 1 -> 2 with the operator frozen", replicas("decode", 2)).await?;
    let start = Instant::now();
    let decode = namespace.pods("app.kubernetes.io/component=decode").await?;
    namespace.api::<Pod>().delete(&decode[0], &DeleteParams::default()).await?;
    namespace.wait_for(&decode[0], "is gone", LIMIT, |pod: Option<&Pod>| pod.is_none()).await?;
    namespace.settled("smollm2", LIMIT).await?;
    eprintln!("a decode pod deleted and replaced: {:.1} s", start.elapsed().as_secs_f64());
    // The branch has the same weights, but that is not known before they are there.
    let branch = json!({"spec": {"model": {"source": {"huggingFace": {"revision": "main"}}}}});
    changes(namespace, "another revision of the model", branch).await?;
    without_api_server(Duration::from_secs(30)).await?;
    changes(namespace, "prefill 1 -> 0", replicas("prefill", 0)).await
}

/// What the service said last of a drain, when it is over.
async fn last_drain(namespace: Namespace) -> anyhow::Result<String> {
    let mut last = namespace.reason("smollm2", "Draining", "PodsToGo", LIMIT).await?;
    loop {
        let found = namespace.api::<AMPDService>().get("smollm2").await?;
        match condition(Some(&found), "Draining") {
            Some((_, reason, message)) if reason == "PodsToGo" => last = message,
            _ => return Ok(last),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing reaches the API server for so long.
async fn without_api_server(time: Duration) -> anyhow::Result<()> {
    let port = Config::infer().await?.cluster_url.port_u16().unwrap();
    let rule = |action: &str| {
        let port = port.to_string();
        let arguments = [action, "INPUT", "--protocol", "tcp", "--dport", &port, "--jump", "DROP"];
        let status = Command::new("iptables").args(arguments).status()?;
        anyhow::ensure!(status.success(), "iptables ended with {status}");
        Ok(())
    };
    rule("--insert")?;
    tokio::time::sleep(time).await;
    rule("--delete")?;
    eprintln!("{} s without the API server", time.as_secs());
    Ok(())
}

/// Ends the operator that works, at once.
async fn kill_leader(namespace: &Namespace) -> anyhow::Result<()> {
    let leader = leader(&namespace.client).await?.name_any();
    let pods = Api::<Pod>::namespaced(namespace.client.clone(), operator::NAMESPACE);
    pods.delete(&leader, &DeleteParams::default().grace_period(0)).await?;
    eprintln!("ended the operator {leader}");
    Ok(())
}

/// Makes a change while the operator that works is frozen: another one takes over, and the frozen one does not disturb it
/// when it goes on.
async fn with_frozen_leader(
    namespace: &Namespace,
    what: &str,
    change: serde_json::Value,
) -> anyhow::Result<()> {
    let frozen = leader(&namespace.client).await?;
    operator::signal(&frozen, Signal::STOP)?;
    let changed = changes(namespace, what, change).await;
    // The kubelet may have ended it by now, for its silence.
    let thawed = operator::signal(&frozen, Signal::CONT);
    changed?;
    thawed?;
    assert_ne!(leader(&namespace.client).await?.name_any(), frozen.name_any());
    Ok(())
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn a_model_that_cannot_start_takes_nothing_away() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        namespace.apply(&manifest()).await?;
        namespace.settled("smollm2", LIMIT).await?;
        let served = namespace.served("smollm2").await?;
        converse_with(&served.url, &served.key, plan("before", 1, 2)).await?;
        let present = namespace.pods("app.kubernetes.io/component=decode").await?;
        let wrong = "0".repeat(40);
        let revision =
            |commit: &str| json!({"spec": {"model": {"source": {"huggingFace": {"revision": commit}}}}});
        let api = namespace.api::<AMPDService>();
        let commit = api.get("smollm2").await?.spec.model.source.hugging_face.map(|from| from.revision);
        namespace.change("smollm2", revision(&wrong)).await?;
        namespace.reason("smollm2", "Ready", "ReplacingRevision", LIMIT).await?;
        // The present workers may lose one, and even be down, without being given up.
        for pod in &present {
            namespace.api::<Pod>().delete(pod, &DeleteParams::default().grace_period(0)).await?;
        }
        // A pod's name is that of its Deployment with two parts more.
        let deployment = present[0].rsplitn(3, '-').nth(2).unwrap();
        for (what, all) in [("has lost its pods", false), ("has its pods again", true)] {
            let ready = move |found: Option<&Deployment>| {
                let ready = found.and_then(|found| found.status.as_ref()?.ready_replicas).unwrap_or(0);
                (ready == 2) == all
            };
            namespace.wait_for(deployment, what, LIMIT, ready).await?;
        }
        namespace.reason("smollm2", "Ready", "ReplacingRevision", LIMIT).await?;
        converse_with(&served.url, &served.key, plan("beside", 2, 2)).await?;
        namespace.change("smollm2", revision(&commit.unwrap())).await?;
        namespace.settled("smollm2", LIMIT).await?;
        converse_with(&served.url, &served.key, plan("after", 1, 2)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn children_that_somebody_changes_are_restored() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        // No pod need run for this.
        let text = manifest().replace("{min: 1}", "{min: 0}").replace("{min: 2}", "{min: 1}");
        namespace.apply(&text).await?;
        let (services, deployments) = (namespace.api::<Service>(), namespace.api::<Deployment>());
        namespace
            .wait_for::<Service>("smollm2", "is there", LIMIT, |found: Option<&Service>| found.is_some())
            .await?;
        // All is written when the status is.
        namespace.reason("smollm2", "Draining", "NothingToDrain", LIMIT).await?;
        let decode = namespace.only_deployment("decode").await?;
        deployments
            .patch(&decode, &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}})))
            .await?;
        let theirs = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "worker", "env": [{"name": "THEIRS", "value": "x"}]}, {"name": "theirs", "image": "theirs"},
        ]}}}});
        deployments.patch(&decode, &PatchParams::default(), &Patch::Strategic(theirs)).await?;
        services.delete("smollm2", &DeleteParams::default()).await?;
        let restored = |found: Option<&Deployment>| {
            let spec = found.and_then(|found| found.spec.as_ref());
            let containers = spec.and_then(|spec| Some(&spec.template.spec.as_ref()?.containers[..]));
            let [worker] = containers.unwrap_or_default() else { return false };
            spec.and_then(|spec| spec.replicas) == Some(1)
                && !worker.env.iter().flatten().any(|variable| variable.name == "THEIRS")
        };
        namespace.wait_for(&decode, "is as it was", LIMIT, restored).await?;
        namespace
            .wait_for::<Service>("smollm2", "is there again", LIMIT, |found: Option<&Service>| {
                found.is_some()
            })
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn what_is_wrong_is_told_and_can_be_mended() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        let small = |source: &str| {
            format!(
                "{{apiVersion: ampd.dev/v1alpha1, kind: AMPDService, metadata: {{name: wrong}}, spec: {{model: {{name: m, source: {source}}}, prefill: {{replicas: {{min: 0}}}}}}}}"
            )
        };
        for (source, words) in [
            ("{path: ''}", "spec.model.source.path"),
            ("{}", "must have exactly one of huggingFace, persistentVolumeClaim and path"),
            ("{huggingFace: {repo: nonsense}}", "spec.model.source.huggingFace.repo"),
        ] {
            let error = namespace.apply(&small(source)).await.unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#} should say {words}");
        }
        namespace.apply(&small("{persistentVolumeClaim: {claimName: none, path: m.gguf}}")).await?;
        let message = namespace.reason("wrong", "Ready", "ReferenceMissing", LIMIT).await?;
        assert!(message.contains("spec.model.source.persistentVolumeClaim.claimName"), "{message}");
        namespace.change("wrong", json!({"spec": {"model": {"source": {"persistentVolumeClaim": null, "path": "/no/such.gguf"}}}})).await?;
        let message = namespace.reason("wrong", "Ready", "ContainerFails", LIMIT).await?;
        assert!(message.contains("/no/such.gguf"), "{message}");
        namespace.change("wrong", json!({"spec": {"image": {"reference": "localhost/none:none", "pullPolicy": "Never"}}})).await?;
        namespace.reason("wrong", "Ready", "ImagePullFailed", LIMIT).await?;
        let found = namespace.api::<AMPDService>().get("wrong").await?;
        assert_eq!(condition(Some(&found), "Planned").map(|(status, ..)| status).as_deref(), Some("False"));
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn the_budget_of_accelerators_holds_at_any_moment() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |namespace| {
        // As many as the node has: 3 prefill and 5 decode workers.
        let text = SERVICE.replacen("  slo:", "  accelerator: {budget: {max: 8}}\n  slo:", 1);
        let text = text.replacen("{min: 2}", "{min: 3}", 1).replacen("{min: 2}", "{min: 5}", 1);
        let (most, counting) = (Arc::new(AtomicI64::new(0)), namespace.api::<Pod>());
        let watched = tokio::spawn(most_held(counting, most.clone()));
        namespace.apply(&text).await?;
        namespace.settled("smollm2", LIMIT).await?;
        let found = namespace.api::<AMPDService>().get("smollm2").await?;
        assert_eq!(found.status.unwrap().gpus, 8);
        // No room for one more pod: each goes before the next comes.
        changes(
            namespace,
            "a roll within the budget",
            json!({"spec": {"observability": {"logFilter": "warn"}}}),
        )
        .await?;
        namespace.change("smollm2", json!({"spec": {"decode": {"replicas": {"min": 6}}}})).await?;
        let message = namespace.reason("smollm2", "Ready", "BudgetExceeded", LIMIT).await?;
        assert!(message.contains("need 9 accelerators") && message.contains("is 8"), "{message}");
        changes(namespace, "back", json!({"spec": {"decode": {"replicas": {"min": 5}}}})).await?;
        assert!(!watched.is_finished());
        watched.abort();
        let most = most.load(Ordering::Relaxed);
        eprintln!("at most {most} accelerators at once");
        assert_eq!(most, 8, "at most so many accelerators were asked for at once");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn services_of_one_name_do_not_meet_and_leave_nothing() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    with_namespace(async |one| {
        with_namespace(async |other| {
            let text = manifest().replace("{min: 1}", "{min: 0}").replace("{min: 2}", "{min: 1}");
            one.apply(&text).await?;
            other.apply(&text).await?;
            one.settled("smollm2", LIMIT).await?;
            other.settled("smollm2", LIMIT).await?;
            let (mine, theirs) = (one.served("smollm2").await?, other.served("smollm2").await?);
            converse_with(&mine.url, &mine.key, plan("a", 1, 2)).await?;
            assert!(
                converse_with(&theirs.url, &mine.key, plan("b", 1, 1)).await.is_err(),
                "a key of another one"
            );
            // A service is renamed by deleting it and making another one.
            other.api::<AMPDService>().delete("smollm2", &DeleteParams::default()).await?;
            other.apply(&text.replace("name: smollm2\n", "name: renamed\n")).await?;
            other.settled("renamed", LIMIT).await?;
            let gone = |found: Option<&Service>| found.is_none();
            other.wait_for::<Service>("smollm2", "is gone", LIMIT, gone).await?;
            for pod in other.pods("app.kubernetes.io/instance=smollm2").await? {
                other.wait_for(&pod, "is gone", LIMIT, |pod: Option<&Pod>| pod.is_none()).await?;
            }
            // The operator has no part in the end of a namespace.
            let namespaces = Api::<NamespaceObject>::all(other.client.clone());
            namespaces.delete(&other.name, &DeleteParams::default()).await?;
            let gone = |found: Option<&NamespaceObject>| found.is_none();
            wait_for(&namespaces, &other.name, "is gone", LIMIT, gone).await?;
            one.settled("smollm2", LIMIT).await
        })
        .await
    })
    .await
}

/// Follows the pods through every change that the API server tells of, and keeps the most accelerators that those let to a
/// node asked for together.
async fn most_held(pods: Api<Pod>, most: Arc<AtomicI64>) -> anyhow::Result<()> {
    let mut held = BTreeMap::new();
    let mut changes = std::pin::pin!(watcher(pods, watcher::Config::default()));
    while let Some(change) = changes.try_next().await? {
        match change {
            Event::Init => held.clear(),
            Event::InitDone => {}
            Event::Delete(pod) => {
                held.remove(&pod.name_any());
            }
            Event::Apply(pod) | Event::InitApply(pod) => {
                held.insert(pod.name_any(), accelerators(&pod));
            }
        }
        most.fetch_max(held.values().sum(), Ordering::Relaxed);
    }
    Ok(())
}

/// What a pod that may go to a node asks for, or has.
fn accelerators(pod: &Pod) -> i64 {
    let over = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(spec) = pod.spec.as_ref() else { return 0 };
    if matches!(over, Some("Succeeded" | "Failed"))
        || spec.scheduling_gates.as_ref().is_some_and(|all| !all.is_empty())
    {
        return 0;
    }
    let limits = spec.containers.iter().filter_map(|container| container.resources.as_ref()?.limits.as_ref());
    limits.filter_map(|limits| limits.get("nvidia.com/gpu")?.0.parse::<i64>().ok()).sum()
}

//! Workers and sidecars that are told to stop, as a cluster's node stops pods: no client sees anything of it.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::Duration;

use ampd_testkit::chat::{ChatClient, Conversation, http};
use ampd_testkit::cluster::{ManualCluster, ManualOptions, Metrics, Role, model, settled, skipped};
use ampd_testkit::crowd::{Crowd, Outcome};
use ampd_testkit::process::Signal;
use ampd_testkit::wait::until;

const SESSIONS: usize = 16;
const ROUNDS: usize = 5;
/// Longest time until all rounds have ended.
const END: Duration = Duration::from_mins(2);
/// Longest time from the signal to a process's end: its grace and a little more.
const STOP: Duration = Duration::from_secs(45);
const SETTLE: Duration = Duration::from_secs(30);

async fn cluster(policy: &str) -> Option<(ManualCluster, Vec<ChatClient>)> {
    if model().is_none() {
        skipped("AMPD_MODEL");
        return None;
    }
    let sidecar_arguments = vec!["--policy".into(), policy.into()];
    let options = ManualOptions { prefill: 1, decode: 2, sidecar_arguments, ..ManualOptions::default() };
    let cluster = ManualCluster::start(options).await.unwrap();
    let mut clients = Vec::new();
    for url in cluster.urls() {
        clients.push(ChatClient::new(&url).await.unwrap());
    }
    Some((cluster, clients))
}

fn crowd(name: &str) -> Crowd {
    Crowd { name: name.into(), sessions: SESSIONS, rounds: ROUNDS, max_tokens: 24, again: false }
}

fn assert_no_errors(outcomes: &[Outcome]) {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.complete()).collect();
    assert!(failed.is_empty(), "{} of {} rounds failed: {:#?}", failed.len(), outcomes.len(), failed[0]);
    assert_eq!(outcomes.len(), SESSIONS * ROUNDS);
}

/// The sum of a series over all processes of a role that run.
async fn sum(cluster: &ManualCluster, role: Role, name: &str, labels: &[(&str, &str)]) -> f64 {
    let (http, mut sum) = (http().unwrap(), 0.0);
    for member in cluster.members.iter().filter(|member| member.role == role && member.pid.is_some()) {
        sum += Metrics::read(&http, member).await.unwrap().sum(name, labels);
    }
    sum
}

/// Waits until rounds decode on a worker.
async fn busy(cluster: &ManualCluster, name: &str, series: &str) {
    let (http, worker) = (http().unwrap(), cluster.member(name).unwrap());
    until("the worker has work", END, async || {
        let count = Metrics::read(&http, worker).await?.sum(series, &[]);
        anyhow::ensure!(count >= 2.0, "{count}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_decode_worker_that_is_stopped_with_its_sidecar_loses_no_round() {
    let Some((mut cluster, clients)) = cluster("paper").await else { return };
    let talking = crowd("stopping").start(&clients);
    talking.reach(SESSIONS / 2, SESSIONS / 2, END).await.unwrap();
    busy(&cluster, "decode-0", "ampd_worker_running_rounds").await;
    cluster.signal("decode-0", Signal::TERM).unwrap();
    // While it drains, and after it.
    let mut fresh: Vec<_> =
        (0..4).map(|number| Conversation::new(&clients[number % 2], format!("fresh-{number}"))).collect();
    for conversation in &mut fresh {
        let answer = conversation.say("Tell me about rivers.", 8).await.unwrap();
        assert!(answer.complete(), "{answer:?}");
    }
    assert_eq!(cluster.ended("decode-0", STOP).await.unwrap(), Some(0));
    let outcomes = talking.finish(END).await.unwrap();
    assert_no_errors(&outcomes);
    assert!(sum(&cluster, Role::Sidecar, "ampd_bindings_total", &[("kind", "rebound")]).await > 0.0);

    // The sidecar whose worker is gone says so, and serves whoever still comes to it.
    let alone = cluster.member("sidecar-0").unwrap().internal_url.clone().unwrap();
    let ready = http().unwrap().get(format!("{alone}/readyz")).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let last = {
        let mut conversation = Conversation::new(&clients[0], "last");
        tokio::spawn(async move {
            let answer = conversation.say("Count to thirty.", 64).await;
            (conversation, answer)
        })
    };
    busy_sidecar(&cluster).await;
    cluster.signal("sidecar-0", Signal::TERM).unwrap();
    let (conversation, answer) = last.await.unwrap();
    let answer = answer.unwrap();
    assert!(answer.complete(), "{answer:?}");
    assert_eq!(cluster.ended("sidecar-0", STOP).await.unwrap(), Some(0));
    // What it kept of sessions is lost with it; they go on through the other one.
    let mut through_other = Conversation::new(&clients[1], "last");
    through_other.messages = conversation.messages;
    for mut conversation in fresh.into_iter().skip(1).step_by(2).chain([through_other]) {
        let answer = conversation.say("And about lakes?", 8).await.unwrap();
        assert!(answer.complete(), "{answer:?}");
    }
    settled(&http().unwrap(), &cluster.members, SETTLE).await.unwrap();
}

/// Waits until the sidecar that has lost its worker serves a request.
async fn busy_sidecar(cluster: &ManualCluster) {
    let (http, sidecar) = (http().unwrap(), cluster.member("sidecar-0").unwrap());
    until("the sidecar serves", END, async || {
        let inflight = Metrics::read(&http, sidecar).await?.sum("ampd_http_inflight", &[]);
        anyhow::ensure!(inflight >= 1.0, "nothing is in flight");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_prefill_worker_that_is_stopped_loses_no_round() {
    let Some((mut cluster, clients)) = cluster("always_remote").await else { return };
    let talking = crowd("prefill").start(&clients);
    talking.reach(SESSIONS / 2, SESSIONS / 2, END).await.unwrap();
    busy(&cluster, "prefill-0", "ampd_worker_queued_prefills").await;
    cluster.signal("prefill-0", Signal::TERM).unwrap();
    assert_eq!(cluster.ended("prefill-0", STOP).await.unwrap(), Some(0));
    let outcomes = talking.finish(END).await.unwrap();
    assert_no_errors(&outcomes);
    // What it had taken it has finished: nothing was cut off.
    for reason in ["disconnected", "transfer_failed", "worker_failed"] {
        let cut =
            sum(&cluster, Role::Decode, "ampd_worker_remote_fallbacks_total", &[("reason", reason)]).await;
        assert_eq!(cut, 0.0, "{reason}");
    }
    settled(&http().unwrap(), &cluster.members, SETTLE).await.unwrap();
}

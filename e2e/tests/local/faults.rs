//! What clients see when processes and connections break under some 50 running rounds: as little as can be.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::{Duration, Instant};

use ampd_testkit::chat::{ChatClient, Conversation, http};
use ampd_testkit::cluster::{
    LocalCluster, LocalOptions, ManualCluster, ManualOptions, Member, Metrics, Role, model, settled, skipped,
};
use ampd_testkit::crowd::{Crowd, Outcome, Talking};
use ampd_testkit::process::Signal;
use ampd_testkit::relay::{Direction, Faults};
use ampd_testkit::wait::until;
use serde_json::json;

/// Rounds that are on their way when the fault comes.
const RUNNING: usize = 50;
/// Longest time until all rounds have ended.
const END: Duration = Duration::from_secs(90);
/// After this no block and no lease is held by what a fault has ended.
const SETTLE: Duration = Duration::from_secs(30);

fn equipped() -> bool {
    let equipped = model().is_some();
    if !equipped {
        skipped("AMPD_MODEL");
    }
    equipped
}

fn crowd(name: &str) -> Crowd {
    Crowd { name: name.into(), sessions: RUNNING, rounds: 2, max_tokens: 8, again: false }
}

/// Starts a crowd and waits until it is in full swing.
async fn in_full_swing(crowd: Crowd, clients: &[ChatClient]) -> Talking {
    let sessions = crowd.sessions;
    let talking = crowd.start(clients);
    // Some rounds have ended, so that the fault meets prefills, transfers and decodes alike.
    talking.reach(3, sessions * 9 / 10, END).await.unwrap();
    talking
}

fn assert_no_errors(outcomes: &[Outcome]) {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.complete()).collect();
    assert!(failed.is_empty(), "{} of {} rounds failed: {:#?}", failed.len(), outcomes.len(), failed[0]);
    assert_eq!(outcomes.len(), 2 * RUNNING);
}

/// How many remote prefills the decode workers gave up, for these reasons or for any.
async fn fallbacks(members: &[Member], reasons: &[&str]) -> f64 {
    let (http, mut sum) = (http().unwrap(), 0.0);
    for member in members.iter().filter(|member| member.role == Role::Decode) {
        let metrics = Metrics::read(&http, member).await.unwrap();
        let name = "ampd_worker_remote_fallbacks_total";
        if reasons.is_empty() {
            sum += metrics.sum(name, &[]);
        }
        for reason in reasons {
            sum += metrics.sum(name, &[("reason", reason)]);
        }
    }
    sum
}

async fn one_prefill_worker() -> (LocalCluster, ChatClient) {
    let cluster = LocalCluster::start(LocalOptions::new(1, 2).policy("always_remote")).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    (cluster, client)
}

#[tokio::test]
async fn a_killed_prefill_worker_costs_no_client_anything() {
    if !equipped() {
        return;
    }
    let (cluster, client) = one_prefill_worker().await;
    let talking = in_full_swing(crowd("killed"), &[client]).await;
    let before = cluster.member("prefill-0").unwrap();
    cluster.signal("prefill-0", Signal::KILL).unwrap();
    let outcomes = talking.finish(END).await.unwrap();
    assert_no_errors(&outcomes);
    let members = cluster.members().unwrap();
    let counted = fallbacks(&members, &["disconnected", "connect_refused", "transfer_failed"]).await;
    assert!(counted > 0.0, "no fallback was counted: the fault hit nothing");
    // It comes back by itself, and everything is let go.
    until("the prefill worker is back", SETTLE, async || {
        let now = cluster.member("prefill-0")?;
        anyhow::ensure!(now.pid.is_some() && now.restarts > before.restarts, "{now:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    settled(&http().unwrap(), &cluster.members().unwrap(), SETTLE).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_frozen_prefill_worker_costs_no_client_anything() {
    if !equipped() {
        return;
    }
    let (cluster, client) = one_prefill_worker().await;
    let talking = in_full_swing(crowd("frozen"), &[client]).await;
    cluster.signal("prefill-0", Signal::STOP).unwrap();
    let outcomes = talking.finish(END).await.unwrap();
    assert_no_errors(&outcomes);
    let members = cluster.members().unwrap();
    assert!(
        fallbacks(&members, &["frozen", "deadline", "lease_expired"]).await > 0.0,
        "the fault hit nothing"
    );
    let decode: Vec<_> = members.into_iter().filter(|member| member.role == Role::Decode).collect();
    settled(&http().unwrap(), &decode, SETTLE).await.unwrap();
    // What it still believes to have, it drops when it goes on.
    cluster.signal("prefill-0", Signal::CONT).unwrap();
    settled(&http().unwrap(), &cluster.members().unwrap(), SETTLE).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn transfers_cut_in_the_middle_cost_no_client_anything() {
    if !equipped() {
        return;
    }
    let options = ManualOptions {
        prefill: 1,
        decode: 2,
        sidecar_arguments: ["--policy", "always_remote"].map(Into::into).into(),
        ..ManualOptions::default()
    };
    let cluster = ManualCluster::start(options).await.unwrap();
    let mut clients = Vec::new();
    for url in cluster.urls() {
        clients.push(ChatClient::new(&url).await.unwrap());
    }
    let talking = in_full_swing(crowd("cut"), &clients).await;
    // New KV travels to the decode worker: 100 kB is in the middle of an increment of some tokens. What is on its way now
    // is cut at once, and then everything that begins while the fault lasts.
    let cut = Faults { cut_at: Some(100_000), ..Faults::default() };
    for relay in &cluster.kv_relays {
        relay.set(Direction::ToTarget, cut);
        relay.cut();
    }
    let cuts = || cluster.kv_relays.iter().map(|relay| relay.counts().cut).sum::<u64>();
    until("transfers are cut", END, async || {
        let cuts = cuts();
        if cuts >= 5 { Ok(()) } else { Err(format!("{cuts} cuts")) }
    })
    .await
    .unwrap();
    cluster.kv_relays.iter().for_each(ampd_testkit::relay::Relay::heal);
    let outcomes = talking.finish(END).await.unwrap();
    assert_no_errors(&outcomes);
    let counted = fallbacks(&cluster.members, &[]).await;
    assert!(counted > 0.0, "no fallback was counted after {} cuts", cuts());
    settled(&http().unwrap(), &cluster.members, SETTLE).await.unwrap();
    // Afterwards remote prefills work again.
    let messages = [json!({"role": "user", "content": "x ".repeat(60)})];
    let answer = clients[0].round("after", &messages, json!({"max_tokens": 2})).await.unwrap();
    assert_eq!(answer.header("x-ampd-prefill"), "remote", "{answer:?}");
}

/// Waits until `least` rounds decode on `decode-0`, and gives how many are there then, in any state.
async fn decoding(cluster: &LocalCluster, least: f64) -> f64 {
    let worker = cluster.member("decode-0").unwrap();
    until("rounds decode on decode-0", END, async || {
        let metrics = Metrics::read(&http()?, &worker).await?;
        let count = |name| metrics.sum(name, &[]);
        let decoding = count("ampd_worker_running_rounds");
        anyhow::ensure!(decoding >= least, "{decoding} decode");
        // Rounds whose prefill is remote are counted by what is leased for it.
        let waiting = count("ampd_worker_queued_prefills") + count("ampd_worker_leases");
        Ok::<_, anyhow::Error>(decoding + waiting)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_killed_decode_worker_ends_only_its_own_rounds() {
    if !equipped() {
        return;
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 2)).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    let crowd = Crowd { rounds: 3, max_tokens: 16, again: true, ..crowd("decode") };
    let talking = in_full_swing(crowd, &[client]).await;
    let in_flight = decoding(&cluster, 4.0).await;
    let killed = Instant::now();
    cluster.signal("decode-0", Signal::KILL).unwrap();
    let outcomes = talking.finish(END).await.unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.complete()).collect();
    assert!(!failed.is_empty(), "no round failed: the fault hit nothing");
    assert!((failed.len() as f64) <= in_flight, "{} rounds failed, {in_flight} were there", failed.len());
    for outcome in &failed {
        assert!(!outcome.again, "a round failed twice: {outcome:?}");
        assert!(
            outcome.sent <= killed + Duration::from_secs(2),
            "sent after the loss was known: {outcome:?}"
        );
        // An error in the stream, not a connection that breaks off.
        let answer = outcome.answer.as_ref().unwrap();
        assert!(answer.error.is_some() && !answer.done, "{outcome:?}");
    }
    // Every session whose round was lost has gone on; how soon one does is told without a crowd, below.
    assert_eq!(outcomes.iter().filter(|outcome| outcome.again && outcome.complete()).count(), failed.len());
    settled(&http().unwrap(), &cluster.members().unwrap(), SETTLE).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_goes_on_within_two_seconds_of_its_worker_s_death() {
    if !equipped() {
        return;
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 2)).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    let mut conversations: Vec<_> =
        (0..6).map(|number| Conversation::new(&client, format!("going-on-{number}"))).collect();
    for conversation in &mut conversations {
        assert!(conversation.say("Tell me about rivers.", 8).await.unwrap().complete());
    }
    // Half of the sessions are idle when their worker dies, half in the middle of a round.
    let mut rounds = tokio::task::JoinSet::new();
    let idle = conversations.split_off(3);
    for mut conversation in conversations {
        rounds.spawn(async move {
            let answer = conversation.say("Count to a thousand.", 48).await.unwrap();
            (conversation, answer)
        });
    }
    let in_flight = decoding(&cluster, 1.0).await;
    cluster.signal("decode-0", Signal::KILL).unwrap();
    let mut next = tokio::task::JoinSet::new();
    let go_on = |mut conversation: Conversation| async move {
        let start = Instant::now();
        (conversation.say("And about lakes?", 8).await.unwrap(), start.elapsed())
    };
    for conversation in idle {
        next.spawn(go_on(conversation));
    }
    let mut failed = 0;
    while let Some(ended) = rounds.join_next().await {
        let (conversation, answer) = ended.unwrap();
        if !answer.complete() {
            failed += 1;
            next.spawn(go_on(conversation));
        }
    }
    assert!(failed >= 1 && f64::from(failed) <= in_flight, "{failed} rounds failed of {in_flight}");
    while let Some(answer) = next.join_next().await {
        let (answer, took) = answer.unwrap();
        assert!(answer.complete() && took < Duration::from_secs(2), "{took:?}: {answer:?}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn no_child_outlives_a_killed_parent() {
    if !equipped() {
        return;
    }
    let mut cluster = LocalCluster::start(LocalOptions::new(1, 1)).await.unwrap();
    assert_eq!(cluster.running_children().len(), 3, "a process for each worker and sidecar");
    cluster.process.signal(Signal::KILL).unwrap();
    cluster.process.wait(Duration::from_secs(5)).await.unwrap();
    until("all children end", Duration::from_secs(10), async || {
        let left = cluster.running_children();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn clients_that_leave_in_mid_stream_take_their_rounds_along() {
    if !equipped() {
        return;
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 2)).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    let mut leaving = tokio::task::JoinSet::new();
    for number in 0..20 {
        let client = client.clone();
        leaving.spawn(async move {
            let messages = [json!({"role": "user", "content": format!("Count from {number} on, for long.")})];
            // Without a limit the round would go on for minutes.
            let more = json!({"max_tokens": 1500, "ignore_eos": true});
            // Some leave before the first token, some after a few.
            client.leave_after(&format!("leaving-{number}"), &messages, more, number % 5).await
        });
    }
    while let Some(seen) = leaving.join_next().await {
        seen.unwrap().unwrap();
    }
    settled(&http().unwrap(), &cluster.members().unwrap(), Duration::from_secs(2)).await.unwrap();
    cluster.stop().await.unwrap();
}

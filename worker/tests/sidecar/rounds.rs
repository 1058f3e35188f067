//! Conversations through sidecars and real workers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use crate::cluster::client::{Answer, Client, assistant, user};
use crate::cluster::{Cluster, Plan, eventually};
use serde_json::{Value, json};

/// Longer than what stays local for its size.
const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";

async fn conversation(cluster: &Cluster, session: &str, rounds: usize) -> Vec<Answer> {
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        messages.push(user(&format!("{round}: {LONG}")));
        // Each round goes to another sidecar.
        let client = cluster.client(round % cluster.sidecars.len());
        let answer = client.chat(session, &messages, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        messages.push(assistant(&answer.content()));
        answers.push(answer);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_keeps_its_history_whichever_sidecar_it_comes_by() {
    let cluster = Cluster::start(Plan::new(2, 1)).await;
    let answers = conversation(&cluster, "talk", 4).await;
    let mut before = (0, 0);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.header("x-ampd-session"), "talk");
        assert_eq!(answer.header("x-ampd-round"), (index + 1).to_string());
        assert!(["local", "remote"].contains(&answer.header("x-ampd-prefill")), "{answer:?}");
        assert!(!answer.header("x-ampd-reason").is_empty() && !answer.header("x-request-id").is_empty());
        if index > 0 {
            // At least the whole prompt before was kept.
            assert!(answer.cached() >= before.1, "{} after {before:?}", answer.cached());
            assert!(answer.cached() > before.0);
        }
        before = (answer.cached(), answer.prompt());
    }
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "new")]).await, 1.0);
    assert_eq!(cluster.sum("ampd_rounds_total", &[("outcome", "ok")]).await, 4.0);
    for (round, count) in [("1", 1.0), ("2-4", 3.0), ("none", 0.0)] {
        assert_eq!(cluster.sum("ampd_round_outcomes_total", &[("round", round)]).await, count, "{round}");
    }
    assert_eq!(cluster.sum("ampd_prefill_decisions_total", &[]).await, 4.0);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefills_run_where_the_policy_says_and_the_text_is_the_same() {
    let mut texts = Vec::new();
    for (policy, place) in [("always_local", "local"), ("always_remote", "remote"), ("paper", "remote")] {
        let cluster = Cluster::start(Plan::new(1, 1).flags(&[&format!("--policy={policy}")])).await;
        let answers = conversation(&cluster, "talk", 3).await;
        for answer in &answers {
            assert_eq!(
                answer.header("x-ampd-prefill"),
                place,
                "{policy}: {}",
                answer.header("x-ampd-reason")
            );
        }
        assert_eq!(cluster.sum("ampd_prefill_decisions_total", &[("target", place)]).await, 3.0);
        assert_eq!(cluster.sum("ampd_remote_fallbacks_total", &[]).await, 0.0);
        texts.push(answers.iter().map(Answer::content).collect::<Vec<_>>());
        cluster.at_rest().await;
        cluster.stop().await;
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_serves_and_none_changes_the_text() {
    let mut texts = std::collections::BTreeSet::new();
    for policy in ampd_worker::sidecar::Policy::ALL {
        let cluster = Cluster::start(Plan::new(1, 2).flags(&[&format!("--policy={policy}")])).await;
        let answers = conversation(&cluster, "talk", 3).await;
        let reasons: Vec<_> =
            answers.iter().map(|answer| answer.header("x-ampd-reason").to_owned()).collect();
        let known = |reason: &String| match policy.as_str() {
            "ampd" => ["cheaper_local", "cheaper_remote", "stale_signals"].contains(&&**reason),
            "dynamo_conditional" | "llmd_prefix" => {
                ["below_threshold", "above_threshold"].contains(&&**reason)
            }
            "ppd" => ["first_round", "below_threshold", "above_threshold"].contains(&&**reason),
            "session_affinity" => reason == "affinity",
            _ => true,
        };
        assert!(reasons.iter().all(known), "{policy}: {reasons:?}");
        if policy.as_str() == "session_affinity" {
            // All of them on one prefill worker.
            let idle = cluster.prefill.iter().map(|worker| worker.address);
            let mut used = 0;
            for address in idle {
                let text = Client::new(address).get("/metrics").await.text;
                let samples = ampd_telemetry::exposition::parse(text.as_bytes()).unwrap();
                used += usize::from(samples.iter().any(|sample| {
                    sample.name == "ampd_worker_prefills_total"
                        && sample.label("outcome") == Some("ok")
                        && sample.value > 0.0
                }));
            }
            assert_eq!(used, 1);
        }
        texts.insert(answers.iter().map(Answer::content).collect::<Vec<_>>());
        assert_eq!(cluster.sum("ampd_remote_fallbacks_total", &[]).await, 0.0);
        cluster.at_rest().await;
        cluster.stop().await;
    }
    assert_eq!(texts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_signal_the_default_policy_decides_all_the_same() {
    // Nobody answers there.
    let flags = ["--signals=prometheus", "--prometheus-url=http://127.0.0.1:9"];
    let cluster = Cluster::start(Plan::new(1, 1).flags(&flags)).await;
    for answer in conversation(&cluster, "talk", 3).await {
        let reason = answer.header("x-ampd-reason");
        assert!(["cheaper_local", "stale_signals"].contains(&reason), "{reason}");
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_one_session_wait_for_each_other() {
    let cluster = Cluster::start(Plan::new(2, 0)).await;
    let clients = [cluster.client(0), cluster.client(1)];
    let round = |n: usize| {
        let client: Client = clients[n % 2].clone();
        async move { client.chat("one", &[user(&format!("{n} {LONG}"))], json!({"max_tokens": 16})).await }
    };
    let answers = futures::future::join_all((0..6).map(round)).await;
    let mut numbers: Vec<_> = answers.iter().map(|answer| answer.header("x-ampd-round").to_owned()).collect();
    numbers.sort();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 200));
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_conversations_that_begin_alike_share_a_name_and_do_not_wait() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let client = cluster.client(0);
    let body =
        json!({"model": "tiny", "messages": [user(LONG)], "max_tokens": 8, "ignore_eos": true, "n": 2});
    let ask = || client.post("/v1/chat/completions", &[], &body);
    // All of them are there before the first one's binding is acknowledged.
    cluster.decode[0].gate.freeze();
    let status = Client::new(cluster.sidecars[0].internal);
    let thaw = async {
        eventually("all have come", || async {
            status.get("/internal/v1/status").await.json()["open_requests"] == 100
        })
        .await;
        cluster.decode[0].gate.thaw();
    };
    let (answers, ()) = tokio::join!(futures::future::join_all((0..100).map(|_| ask())), thaw);
    let name = answers[0].header("x-ampd-session").to_owned();
    assert!(name.starts_with("auto-"), "{name}");
    for answer in &answers {
        assert_eq!((answer.status, answer.header("x-ampd-session")), (200, name.as_str()), "{}", answer.text);
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_and_prompts_are_rounds_of_their_own() {
    let cluster = Cluster::start(Plan::new(2, 1)).await;
    let client = cluster.client(0);
    let more = json!({"n": 3, "temperature": 1, "seed": 5, "stream": false});
    let answer = client.chat("n", &[user(LONG)], more).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 3);
    // Together the choices are one round of the session.
    assert_eq!(answer.header("x-ampd-round"), "1");
    let answer = client.chat("n", &[user(LONG)], json!({"n": 2, "temperature": 1})).await;
    assert_eq!(answer.header("x-ampd-round"), "2", "{}", answer.text);
    let body =
        json!({"model": "small", "prompt": [LONG, "he", "x"], "max_tokens": 4, "n": 2, "temperature": 1});
    let answer = client.post("/v1/completions", &[], &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let choices = answer.json()["choices"].as_array().unwrap().clone();
    let indices: Vec<_> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    let echo = json!({"model": "tiny", "prompt": LONG, "max_tokens": 0, "echo": true, "logprobs": 1});
    let answer = client.post("/v1/completions", &[], &echo).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["choices"][0]["text"], LONG);
    assert_eq!((answer.header("x-ampd-prefill"), answer.header("x-ampd-reason")), ("local", "local_only"));
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_complete_and_end_when_their_client_goes() {
    let cluster = Cluster::start(Plan::new(2, 1)).await;
    for sidecar in 0..2 {
        let client = cluster.client(sidecar);
        let more = json!({"stream": true, "stream_options": {"include_usage": true}});
        let answer = client.chat("streamed", &[user(LONG)], more).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.header("content-type").starts_with("text/event-stream"));
        assert!(!answer.header("x-ampd-prefill").is_empty());
        let events = answer.events();
        assert_eq!(*events.last().unwrap(), "[DONE]");
        let usage: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
        assert_eq!(usage["usage"]["completion_tokens"], 8);
    }
    let cancelled = || async { cluster.sum("ampd_rounds_total", &[("outcome", "cancelled")]).await };
    let body = json!({"model": "tiny", "messages": [user(LONG)], "max_tokens": 1500, "ignore_eos": true, "stream": true});
    for sidecar in 0..2 {
        let client = cluster.client(sidecar);
        let seen = client.stream_until("gone", &body, |text| text.matches("data:").count() > 3).await;
        assert!(!seen.contains("[DONE]"));
    }
    eventually("both rounds are cancelled", || async { cancelled().await == 2.0 }).await;
    cluster.at_rest().await;
    // The session goes on.
    let answer = cluster.client(0).chat("gone", &[user(LONG)], json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_string_ends_the_round_where_it_runs() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let client = cluster.client(0);
    let whole = client.chat("a", &[user(LONG)], json!({"max_tokens": 40})).await.content();
    let stop: String = whole.chars().skip(whole.chars().count() / 2).take(2).collect();
    let more = json!({"max_tokens": 1500, "stop": [stop]});
    let answer = client.chat("b", &[user(LONG)], more).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop", "{}", answer.text);
    assert_eq!(answer.content(), whole[..whole.find(&stop).unwrap()]);
    cluster.at_rest().await;
    assert_eq!(cluster.sum("ampd_rounds_total", &[("outcome", "ok")]).await, 2.0);
    cluster.stop().await;
}

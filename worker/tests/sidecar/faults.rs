//! Workers and sidecars that die, freeze or refuse, and what becomes of the rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::client::{Answer, Client, assistant, user, whole};
use crate::cluster::{Cluster, Plan, eventually};
use ampd_worker::protocol::Salt;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";

/// A stream up to its fourth event or beyond. A chunk may end within a character.
async fn first_events(stream: &mut (impl Stream<Item = reqwest::Result<Bytes>> + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    while String::from_utf8_lossy(&bytes).matches("data:").count() < 4 {
        bytes.extend(stream.next().await.unwrap().unwrap());
    }
    bytes
}

/// A conversation's next round, through any living sidecar.
async fn next(cluster: &Cluster, sidecar: usize, messages: &mut Vec<Value>) -> Answer {
    messages.push(user(LONG));
    let answer = cluster.client(sidecar).chat("talk", messages, json!({})).await;
    if answer.status == 200 {
        messages.push(assistant(&answer.content()));
    } else {
        messages.pop();
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_worker_died_goes_on_elsewhere() {
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let mut messages = Vec::new();
    next(&cluster, 0, &mut messages).await;
    let lost = cluster.holder().await;
    cluster.decode[lost].stop().await;
    let stopped = Instant::now();
    // Also by the sidecar that has lost its worker, and without any error to the client.
    for (round, sidecar) in [(2, lost), (3, 1 - lost), (4, lost)] {
        let answer = next(&cluster, sidecar, &mut messages).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(stopped.elapsed() < Duration::from_secs(10));
        assert_eq!(answer.header("x-ampd-round"), round.to_string());
    }
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "rebound")]).await, 1.0);
    eventually("the sidecar without its worker is not ready", || async {
        cluster.client(lost).get("/readyz").await.status == 503
    })
    .await;
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_left_and_cannot_serve_old_bindings() {
    let cluster = Cluster::start(Plan::new(2, 0)).await;
    let mut messages = Vec::new();
    next(&cluster, 0, &mut messages).await;
    let frozen = cluster.holder().await;
    cluster.decode[frozen].gate.freeze();
    let started = Instant::now();
    let answer = next(&cluster, 1 - frozen, &mut messages).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    // By now it is known: nothing waits for it any more.
    let started = Instant::now();
    let fresh = cluster.client(frozen).chat("new", &[user(LONG)], json!({})).await;
    assert_eq!(fresh.status, 200, "{}", fresh.text);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    cluster.decode[frozen].gate.thaw();
    eventually("the worker is back", || async { cluster.client(frozen).get("/readyz").await.status == 200 })
        .await;
    let old = json!({
        "request_id": "old", "session": "talk", "epoch": 1, "salt": Salt([0; 32]), "tokens": [1, 2, 3], "max_tokens": 1
    });
    let round = json!({"open": old, "aside": false, "rounds": 0});
    let peer = Client::new(cluster.sidecars[frozen].internal);
    let answer = peer.post("/internal/v1/served-rounds", &[], &round).await;
    assert!(answer.text.contains("stale_epoch"), "{}", answer.text);
    for sidecar in [0, 1] {
        let answer = next(&cluster, sidecar, &mut messages).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.cached() > 0, "{}", answer.text);
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_in_flight_on_a_lost_worker_end_with_an_error_event() {
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let mut messages = Vec::new();
    next(&cluster, 0, &mut messages).await;
    let lost = cluster.holder().await;
    let body = json!({"model": "tiny", "messages": [user(LONG)], "max_tokens": 1500, "ignore_eos": true, "stream": true});
    let headers = [("x-session-id", "talk")];
    let first = cluster.client(0).request("/v1/chat/completions", &headers, body.to_string().into_bytes());
    let response = first.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    let mut bytes = first_events(&mut stream).await;
    cluster.decode[lost].gate.refuse();
    while let Some(chunk) = stream.next().await {
        bytes.extend(chunk.expect("the stream ends cleanly"));
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("[DONE]"), "{text}");
    let last = text.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    let error: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    assert_eq!(error["error"]["code"], "worker_lost", "{last}");
    let started = Instant::now();
    let answer = next(&cluster, 1 - lost, &mut messages).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(cluster.sum("ampd_rounds_total", &[("outcome", "error")]).await, 1.0);
    assert_eq!(cluster.sum("ampd_round_outcomes_total", &[("outcome", "failed")]).await, 1.0);
    cluster.decode[lost].stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefill_worker_that_is_gone_costs_the_client_nothing() {
    let mut cluster = Cluster::start(Plan::new(1, 1).flags(&["--policy=always_remote"])).await;
    let mut messages = Vec::new();
    assert_eq!(next(&cluster, 0, &mut messages).await.header("x-ampd-prefill"), "remote");
    cluster.prefill[0].stop().await;
    for _ in 0..3 {
        let answer = next(&cluster, 0, &mut messages).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-ampd-prefill"), "local");
        let reason = answer.header("x-ampd-reason");
        assert!(reason.starts_with("fallback_") || reason == "no_prefill_worker", "{reason}");
    }
    eventually("the loss is known", || async {
        cluster.sum("ampd_signal_reads_total", &[("outcome", "refused")]).await > 0.0
    })
    .await;
    let answer = next(&cluster, 0, &mut messages).await;
    assert_eq!(answer.header("x-ampd-reason"), "no_prefill_worker");
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_prefill_worker_is_waited_for_once() {
    let cluster = Cluster::start(Plan::new(1, 1).flags(&["--policy=always_remote"])).await;
    cluster.prefill[0].gate.freeze();
    let mut messages = Vec::new();
    let answer = next(&cluster, 0, &mut messages).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-ampd-prefill"), "local");
    let started = Instant::now();
    let answer = next(&cluster, 0, &mut messages).await;
    assert_eq!(
        (answer.header("x-ampd-prefill"), answer.header("x-ampd-reason")),
        ("local", "no_prefill_worker")
    );
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    cluster.prefill[0].gate.thaw();
    let tries = AtomicU32::new(0);
    eventually("it is used again", || async {
        // A new beginning each time: what was prefilled before would leave nothing to do.
        let text = format!("{} {LONG}", tries.fetch_add(1, Ordering::Relaxed));
        let answer = cluster.client(0).chat(&text, &[user(&text)], json!({})).await;
        answer.header("x-ampd-prefill") == "remote"
    })
    .await;
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_remote_prefill_fails_the_round_where_that_is_wanted() {
    let flags = ["--policy=always_remote", "--on-remote-failure=fail"];
    let cluster = Cluster::start(Plan::new(1, 1).flags(&flags)).await;
    cluster.prefill[0].gate.freeze();
    let answer = next(&cluster, 0, &mut Vec::new()).await;
    assert!(answer.status >= 500, "{}", answer.text);
    cluster.at_rest().await;
    cluster.prefill[0].gate.thaw();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_decode_worker_clients_are_told_to_come_again() {
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let mut messages = Vec::new();
    next(&cluster, 0, &mut messages).await;
    for worker in &mut cluster.decode {
        worker.stop().await;
    }
    for sidecar in [0, 1] {
        let answer = next(&cluster, sidecar, &mut messages).await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(answer.json()["error"]["type"], "server_error");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_stops_finishes_what_it_has_and_others_take_over() {
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let mut messages = Vec::new();
    for sidecar in [0, 1] {
        next(&cluster, sidecar, &mut messages).await;
    }
    let held = cluster.holder().await;
    let body = json!({"model": "tiny", "messages": [user(LONG)], "max_tokens": 200, "ignore_eos": true, "stream": true});
    let request = cluster.client(held).request(
        "/v1/chat/completions",
        &[("x-session-id", "x")],
        body.to_string().into_bytes(),
    );
    let running = tokio::spawn(async move { whole(request.send().await.unwrap()).await });
    eventually("the round runs", || async {
        cluster.sum("ampd_http_inflight", &[]).await > 0.0 || running.is_finished()
    })
    .await;
    cluster.sidecars[held].stop().await;
    let answer = running.await.unwrap();
    assert!(answer.status == 200 && answer.text.contains("[DONE]"), "{}", answer.text);
    let answer = next(&cluster, 1 - held, &mut messages).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_outlast_the_grace_end_with_an_error_event() {
    let grace = Duration::from_secs(1);
    let mut cluster = Cluster::start(Plan { grace, ..Plan::new(1, 0) }).await;
    let body = json!({"model": "tiny", "messages": [user(LONG)], "max_tokens": 1900, "ignore_eos": true, "stream": true});
    let request = cluster.client(0).request("/v1/chat/completions", &[], body.to_string().into_bytes());
    let mut stream = request.send().await.unwrap().bytes_stream();
    let mut bytes = first_events(&mut stream).await;
    // Nothing more comes, so that the round cannot end in time.
    cluster.decode[0].gate.freeze();
    let internal = Client::new(cluster.sidecars[0].internal);
    let stopping = tokio::spawn(async move {
        cluster.sidecars[0].stop().await;
        cluster
    });
    // Others are told so, as long as it serves.
    eventually("it says that it drains", || async { internal.get("/readyz").await.status == 503 }).await;
    let status = internal.get("/internal/v1/member").await.json();
    assert_eq!(status["ready"], false, "{status}");
    while let Some(chunk) = stream.next().await {
        bytes.extend(chunk.expect("the stream ends cleanly"));
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("[DONE]"), "{text}");
    let last = text.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    let error: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    assert_eq!(error["error"]["type"], "server_error", "{last}");
    let cluster = stopping.await.unwrap();
    cluster.decode[0].gate.thaw();
    cluster.at_rest().await;
    cluster.stop().await;
}

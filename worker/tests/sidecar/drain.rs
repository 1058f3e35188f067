//! Draining on request: what runs goes on, sessions move, and nothing new comes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use crate::cluster::client::{Client, assistant, user, whole};
use crate::cluster::{Cluster, Plan, eventually};
use serde_json::{Value, json};

const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";
const DRAIN: &str = "/internal/v1/drain";

async fn status(cluster: &Cluster, sidecar: usize) -> Value {
    Client::new(cluster.sidecars[sidecar].internal).get("/internal/v1/status").await.json()
}

async fn undrain(cluster: &Cluster, sidecar: usize) -> Value {
    let url = format!("http://{}{DRAIN}", cluster.sidecars[sidecar].internal);
    let http = ampd_worker::protocol::http_client(None).unwrap();
    http.delete(url).send().await.unwrap().json().await.unwrap()
}

/// Sessions that a decode worker holds.
async fn sessions(cluster: &Cluster, worker: usize) -> f64 {
    let text = Client::new(cluster.decode[worker].address).get("/metrics/load").await.text;
    let samples = ampd_telemetry::exposition::parse(text.as_bytes()).unwrap();
    samples.iter().find(|sample| sample.name == "ampd_worker_sessions").unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_member_finishes_what_runs_and_gets_nothing_new() {
    let cluster = Cluster::start(Plan::new(2, 1)).await;
    let mut messages = vec![user(LONG)];
    let first = cluster.client(0).chat("talk", &messages, json!({})).await;
    messages.push(assistant(&first.content()));
    let drained = cluster.holder().await;
    let before = status(&cluster, drained).await;
    assert_eq!(
        (&before["draining"], &before["ready"], &before["open_rounds"]),
        (&json!(false), &json!(true), &json!(0))
    );

    let mut running = messages.clone();
    running.push(user("go on"));
    let body =
        json!({"model": "tiny", "messages": running, "max_tokens": 1500, "ignore_eos": true, "stream": true});
    // Through the other sidecar: a round from elsewhere is one of this member's as well.
    let request = cluster.client(1 - drained).request(
        "/v1/chat/completions",
        &[("x-session-id", "talk")],
        body.to_string().into_bytes(),
    );
    let round = tokio::spawn(async move { whole(request.send().await.unwrap()).await });
    eventually("the round runs", || async { status(&cluster, drained).await["open_rounds"] == 1 }).await;
    let internal = Client::new(cluster.sidecars[drained].internal);
    let answer = internal.post(DRAIN, &[], &json!(null)).await;
    assert_eq!((answer.status, &answer.json()["draining"]), (200, &json!(true)), "{}", answer.text);
    assert_eq!(answer.json()["open_rounds"], 1, "the round runs on");
    // Once more changes nothing.
    assert_eq!(internal.post(DRAIN, &[], &json!(null)).await.status, 200);
    assert_eq!(internal.get("/internal/v1/member").await.json()["ready"], false);
    assert_eq!(cluster.client(drained).get("/readyz").await.status, 503);

    // From this moment on, through either sidecar: the other one may not have heard of it yet.
    for number in 0..4 {
        let name = format!("new-{number}");
        let answer = cluster.client(number % 2).chat(&name, &[user(LONG)], json!({"max_tokens": 2})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // Clients are to have gone before the member stops.
        let connection = if number % 2 == drained { "close" } else { "" };
        assert_eq!(answer.header("connection"), connection);
    }
    assert_eq!(sessions(&cluster, drained).await, 1.0, "no new session came");
    // What ran at that moment ends as if nothing were.
    let answer = round.await.unwrap();
    assert!(answer.status == 200 && answer.text.contains("[DONE]"), "{}", answer.text);
    eventually("the drain is over", || async {
        let status = status(&cluster, drained).await;
        status["open_rounds"] == 0 && status["draining"] == true
    })
    .await;
    // The worker still holds the idle session's KV, which says what its end would cost.
    eventually("the KV is told", || async {
        status(&cluster, drained).await["held_kv_tokens"].as_u64() > Some(32)
    })
    .await;

    // The drained one still serves as an entry.
    for (sidecar, round) in [(1 - drained, "3"), (drained, "4")] {
        messages.push(user("and then?"));
        let answer = cluster.client(sidecar).chat("talk", &messages, json!({})).await;
        assert_eq!((answer.status, answer.header("x-ampd-round")), (200, round), "{}", answer.text);
        messages.push(assistant(&answer.content()));
    }
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "rebound")]).await, 1.0);
    assert_eq!(sessions(&cluster, 1 - drained).await, 5.0);
    assert_eq!(cluster.sum("ampd_rounds_total", &[("outcome", "ok")]).await, 8.0);

    assert_eq!(undrain(&cluster, drained).await["draining"], false);
    assert_eq!(cluster.client(drained).get("/readyz").await.status, 200);
    eventually("it gets sessions again", || async {
        let name = format!("again-{}", sessions(&cluster, 1 - drained).await);
        assert_eq!(cluster.client(1 - drained).chat(&name, &[user(LONG)], json!({})).await.status, 200);
        sessions(&cluster, drained).await > 1.0
    })
    .await;
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_wait_for_their_turn_move_with_their_session() {
    let cluster = Cluster::start(Plan::new(2, 0)).await;
    assert_eq!(cluster.client(0).chat("talk", &[user(LONG)], json!({})).await.status, 200);
    let drained = cluster.holder().await;
    let more = json!({"max_tokens": 1500});
    let client = cluster.client(0);
    let ask = |text: &'static str| {
        let (client, more) = (client.clone(), more.clone());
        tokio::spawn(async move { client.chat("talk", &[user(text)], more).await })
    };
    let (first, second) = (ask("one"), ask("two"));
    eventually("one runs and one waits", || async { status(&cluster, drained).await["open_rounds"] == 2 })
        .await;
    Client::new(cluster.sidecars[drained].internal).post(DRAIN, &[], &json!(null)).await;
    for round in [first, second] {
        let answer = round.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "rebound")]).await, 1.0);
    cluster.stop().await;
}

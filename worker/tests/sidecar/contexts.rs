//! Workers whose KV pool is too small for the model's context.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use crate::cluster::client::user;
use crate::cluster::{Cluster, Plan, eventually};
use serde_json::json;

/// Some seventy tokens of the tiny tokenizer.
const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_decode_workers_pool_cannot_hold_is_refused_with_the_field() {
    let cluster = Cluster::start(Plan { kv_blocks: [8, 256], ..Plan::new(1, 0) }).await;
    let client = cluster.client(0);
    assert_eq!(client.get("/v1/models").await.json()["data"][0]["max_model_len"], 256);
    let answer = client.chat("a", &[user(LONG)], json!({"max_tokens": 250})).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let error = &answer.json()["error"];
    assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("messages")));
    assert!(error["message"].as_str().unwrap().contains("256"), "{error}");
    // Without a number of its own an answer ends where the pool does.
    let answer = client.chat("b", &[user(LONG)], json!({"max_tokens": null})).await;
    let usage = &answer.json()["usage"];
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length", "{}", answer.text);
    assert_eq!(usage["total_tokens"], 256, "{}", answer.text);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_prefill_workers_pool_can_hold_stays_local() {
    let plan = Plan { kv_blocks: [256, 8], ..Plan::new(1, 1) }.flags(&["--policy=always_remote"]);
    let cluster = Cluster::start(plan).await;
    let client = cluster.client(0);
    eventually("the prefill worker has said what it can hold", || async {
        cluster.sum("ampd_signal_reads_total", &[("outcome", "ok")]).await > 0.0
    })
    .await;
    let answer = client.chat("a", &[user(LONG)], json!({})).await;
    assert_eq!(answer.header("x-ampd-prefill"), "remote", "{}", answer.header("x-ampd-reason"));
    assert!(answer.prompt() < 256, "{}", answer.text);
    let answer = client.chat("b", &[user(&[LONG; 5].join(" "))], json!({})).await;
    assert!(answer.prompt() > 256, "{}", answer.text);
    assert_eq!(
        (answer.header("x-ampd-prefill"), answer.header("x-ampd-reason")),
        ("local", "no_prefill_worker"),
        "{}",
        answer.text
    );
    assert_eq!(cluster.sum("ampd_remote_fallbacks_total", &[]).await, 0.0);
    cluster.at_rest().await;
    cluster.stop().await;
}

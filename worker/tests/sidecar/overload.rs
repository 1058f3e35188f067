//! New sessions while objectives cannot be met: here no step is as short as the objective.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use crate::cluster::client::{Client, assistant, user};
use crate::cluster::{Cluster, Plan, eventually};
use serde_json::json;

async fn start(overload: &str) -> Cluster {
    let cluster = Cluster::start(Plan::new(2, 1).flags(&[overload, "--slo-itl=1ns"])).await;
    // A member that has told nothing is taken for idle.
    let client = cluster.client(0);
    eventually("a session meets the overload", || async {
        let answer = client.chat("probe", &[user("hello")], json!({"max_tokens": 1})).await;
        answer.status == 429 || !answer.header("x-ampd-overload").is_empty()
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_are_refused_and_others_are_not() {
    let cluster = start("--overload=shed").await;
    let refused = cluster.client(1).chat("new", &[user("hello")], json!({})).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!((refused.header("x-ampd-overload"), refused.header("retry-after")), ("shed", "1"));
    // It was let in once, whoever has forgotten that.
    let messages = [user("hello"), assistant("what?"), user("hello again")];
    for sidecar in [0, 1, 0] {
        // So many that they do not all come at once.
        let more = json!({"max_tokens": 400, "ignore_eos": true});
        let answer = cluster.client(sidecar).chat("old", &messages, more).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // A request that is the client's own fault is no round that missed its objectives.
    let bad = json!({"max_tokens": 100_000});
    assert_eq!(cluster.client(1).chat("old", &messages, bad).await.status, 400);
    let internal = Client::new(cluster.sidecars[1].internal);
    let expected = json!({
        "rounds": 2, "attained": 0, "ttft_missed": 0, "ttft_missed_remote": 0, "itl_missed": 1, "turned_away": 1, "failed": 0,
    });
    // A round is counted a moment after its answer.
    eventually("both rounds of this sidecar are counted, and how they did", || async {
        internal.get("/internal/v1/status").await.json()["attainment"] == expected
    })
    .await;
    assert!(cluster.sum("ampd_admissions_total", &[("outcome", "refused")]).await >= 1.0);
    for outcome in ["turned_away", "missed_itl"] {
        assert!(cluster.sum("ampd_round_outcomes_total", &[("outcome", outcome)]).await >= 1.0, "{outcome}");
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_are_let_in_behind_all_others_and_told_so() {
    let cluster = start("--overload=bestEffort").await;
    for round in 1..=2 {
        let answer = cluster.client(round % 2).chat("new", &[user("hello")], json!({})).await;
        assert_eq!((answer.status, answer.header("x-ampd-overload")), (200, "bestEffort"), "{}", answer.text);
        assert_eq!(answer.header("x-ampd-round"), round.to_string());
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

//! Sessions that leave a decode worker, since it drains or another one is better for their next round, take their KV with
//! them, and those that cannot are right all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::time::{Duration, Instant};

use crate::cluster::client::{Answer, Client, assistant, user};
use crate::cluster::{Cluster, Plan, eventually};
use ampd_testkit::relay::{Direction, Faults};
use http::Method;
use serde_json::{Value, json};

const LONG: &str =
    "and the other one of the two said that it is there on the right of it, near the water of the sea";
const DRAIN: &str = "/internal/v1/drain";

async fn ask(cluster: &Cluster, sidecar: usize, method: Method, path: &str) -> Value {
    let url = format!("http://{}{path}", cluster.sidecars[sidecar].internal);
    let http = ampd_worker::protocol::http_client(None).unwrap();
    http.request(method, url).send().await.unwrap().json().await.unwrap()
}

/// Waits until a drained sidecar has nothing left to move; its status.
async fn moved(cluster: &Cluster, sidecar: usize) -> Value {
    eventually("nothing is left to move", || async {
        ask(cluster, sidecar, Method::GET, "/internal/v1/status").await["moving"] == false
    })
    .await;
    let status = ask(cluster, sidecar, Method::GET, "/internal/v1/status").await;
    assert_eq!((&status["draining"], &status["sessions_left"]), (&json!(true), &json!(0)), "{status}");
    status
}

/// What a decode worker says of its sessions.
async fn held(cluster: &Cluster, worker: usize) -> Value {
    Client::new(cluster.decode[worker].address).get("/internal/v1/sessions").await.json()
}

async fn moves(cluster: &Cluster, outcome: &str) -> f64 {
    cluster.sum("ampd_session_moves_total", &[("outcome", outcome)]).await
}

/// A conversation; without a name it is known by how it begins.
struct Talk {
    name: Option<&'static str>,
    more: Value,
    messages: Vec<Value>,
}

impl Talk {
    fn new(name: impl Into<Option<&'static str>>, more: Value) -> Self {
        Self { name: name.into(), more, messages: Vec::new() }
    }

    async fn say(&mut self, client: &Client, text: &str) -> Answer {
        self.messages.push(user(text));
        let mut body = json!({"model": "tiny", "messages": self.messages, "max_tokens": 9, "temperature": 0,
                              "ignore_eos": true});
        body.as_object_mut().unwrap().extend(self.more.as_object().unwrap().clone());
        let name = self.name.map(|name| ("x-session-id", name));
        let answer = client.post("/v1/chat/completions", name.as_slice(), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.messages.push(assistant(&answer.content()));
        answer
    }
}

/// What must not depend on where a round runs: texts and counts.
fn result(answer: &Answer) -> (Vec<Value>, Value) {
    let json = answer.json();
    let choices = json["choices"].as_array().unwrap();
    (choices.iter().map(|choice| choice["message"]["content"].clone()).collect(), json["usage"].clone())
}

/// A session with some rounds, and who holds it.
async fn with_session(cluster: &Cluster) -> (Talk, usize) {
    let mut talk = Talk::new("talk", json!({}));
    for text in [LONG, "and then?", "go on"] {
        talk.say(&cluster.client(0), text).await;
    }
    (talk, cluster.holder().await)
}

/// The fourth round of that session where nothing is drained.
async fn calm() -> Answer {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let answer = with_session(&cluster).await.0.say(&cluster.client(0), "and last?").await;
    cluster.stop().await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_with_its_kv() {
    let calm = calm().await;
    let cluster = Cluster::start(Plan::new(2, 1).flags(&["--policy=always_local"])).await;
    let (mut talk, drained) = with_session(&cluster).await;
    let tokens = held(&cluster, drained).await["idle"][0]["tokens"].as_u64().unwrap();
    assert!(tokens > 64 && tokens % 32 != 0, "more than whole blocks: {tokens}");
    assert_eq!(ask(&cluster, drained, Method::POST, DRAIN).await["draining"], true);
    let status = moved(&cluster, drained).await;
    assert_eq!((&status["sessions_moved"], &status["sessions_skipped"]), (&json!(1), &json!(0)), "{status}");
    // Once more changes nothing.
    assert_eq!(ask(&cluster, drained, Method::POST, DRAIN).await["sessions_moved"], 1);
    assert_eq!(held(&cluster, drained).await, json!({"idle": [], "busy": 0}));
    assert_eq!(held(&cluster, 1 - drained).await["idle"][0]["tokens"], tokens);

    // Through the drained one, which is no worse an entry than before.
    let answer = talk.say(&cluster.client(drained), "and last?").await;
    assert_eq!(result(&answer), result(&calm));
    assert!(answer.cached() > 64 && answer.cached() % 32 != 0, "more than whole blocks: {}", answer.cached());
    assert_eq!(answer.header("x-ampd-round"), "4");
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "rebound")]).await, 1.0);
    assert_eq!(cluster.sum("ampd_bindings_total", &[("kind", "lost")]).await, 0.0);
    assert_eq!(moves(&cluster, "moved").await, 1.0);
    assert_eq!(cluster.sum("ampd_session_moved_tokens_total", &[]).await, tokens as f64);
    // A move is no round and no prefill of one.
    for worker in [drained, 1 - drained] {
        let text = Client::new(cluster.decode[worker].address).get("/metrics").await.text;
        let samples = ampd_telemetry::exposition::parse(text.as_bytes()).unwrap();
        let sum = |name: &str| -> f64 {
            samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
        };
        assert_eq!(sum("ampd_worker_rounds_total"), if worker == drained { 3.0 } else { 1.0 });
        assert_eq!(sum("ampd_worker_prefills_total"), sum("ampd_worker_rounds_total"));
    }
    cluster.at_rest().await;
    cluster.stop().await;
}

/// One round of each of some conversations.
async fn all_say(talks: &mut [Talk], client: &Client, text: &str) -> Vec<(Vec<Value>, Value)> {
    let mut results = Vec::new();
    for talk in talks {
        results.push(result(&talk.say(client, text).await));
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_sessions_companions_and_salts_move_too() {
    let talks = || {
        [
            Talk::new("pair", json!({"n": 2, "temperature": 1.0, "seed": 5})),
            Talk::new(None, json!({})),
            Talk::new("salted", json!({"cache_salt": "mine"})),
        ]
    };
    // Afterwards: who else finds what the last one has, by how it begins.
    let others = || {
        [
            Talk::new("same-salt", json!({"cache_salt": "mine"})),
            Talk::new("other-salt", json!({"cache_salt": "yours"})),
        ]
    };
    let mut results = Vec::new();
    for drains in [false, true] {
        let cluster = Cluster::start(Plan::new(2, 0)).await;
        // Everything is bound to the first.
        ask(&cluster, 1, Method::POST, DRAIN).await;
        let mut talks = talks();
        all_say(&mut talks, &cluster.client(0), LONG).await;
        ask(&cluster, 1, Method::DELETE, DRAIN).await;
        if drains {
            eventually("the other one takes sessions", || async {
                cluster.client(0).get("/readyz").await.json()["decode"]["ready"] == 2
            })
            .await;
            ask(&cluster, 0, Method::POST, DRAIN).await;
            let status = moved(&cluster, 0).await;
            assert_eq!((&status["sessions_moved"], &status["sessions_skipped"]), (&json!(4), &json!(0)));
        } else {
            ask(&cluster, 1, Method::POST, DRAIN).await;
        }
        let mut got = all_say(&mut talks, &cluster.client(1), "and then?").await;
        got.extend(all_say(&mut others(), &cluster.client(1), LONG).await);
        results.push(got);
        cluster.stop().await;
    }
    assert_eq!(results[0], results[1]);
    let cached = |index: usize| results[1][index].1["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(cached(0) > Some(32) && cached(1) > Some(32) && cached(2) > Some(32), "{results:?}");
    assert!(cached(3) >= Some(32) && cached(4) == Some(0), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_transfer_fails_is_right_all_the_same() {
    let calm = calm().await;
    let cut = Faults { cut_at: Some(20_000), ..Faults::default() };
    let flip = Faults { flip_at: Some(20_000), ..Faults::default() };
    for faults in [None, Some(cut), Some(flip)] {
        let cluster = Cluster::start(Plan::new(2, 0)).await;
        let (mut talk, drained) = with_session(&cluster).await;
        let relay = &cluster.decode[1 - drained].kv_relay;
        match faults {
            None => relay.refuse(true),
            Some(faults) => relay.set(Direction::ToTarget, faults),
        }
        ask(&cluster, drained, Method::POST, DRAIN).await;
        let status = moved(&cluster, drained).await;
        assert_eq!((&status["sessions_moved"], &status["sessions_skipped"]), (&json!(0), &json!(1)));
        assert_eq!(moves(&cluster, "failed").await, 1.0);
        let counts = relay.counts();
        assert_eq!(counts.refused + counts.cut.min(1) + counts.flipped, 1, "{counts:?}");
        let answer = talk.say(&cluster.client(0), "and last?").await;
        assert_eq!((result(&answer).0, answer.cached()), (result(&calm).0, 0));
        cluster.at_rest().await;
        cluster.stop().await;
    }
}

/// Drains a session's worker while nothing passes to the other one's KV; returns when that one waits for it.
async fn stuck(cluster: &Cluster, drained: usize) {
    let stall = Faults { stall: true, ..Faults::default() };
    cluster.decode[1 - drained].kv_relay.set(Direction::ToTarget, stall);
    ask(cluster, drained, Method::POST, DRAIN).await;
    eventually("the other one holds the session", || async { held(cluster, 1 - drained).await["busy"] == 1 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_comes_while_its_session_moves_waits_for_a_bounded_time() {
    let calm = calm().await;
    let cluster = Cluster::start(Plan::new(2, 0)).await;
    let (mut talk, drained) = with_session(&cluster).await;
    stuck(&cluster, drained).await;
    let begun = Instant::now();
    let answer = talk.say(&cluster.client(0), "and last?").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!((result(&answer).0, answer.cached()), (result(&calm).0, 0));
    assert_eq!(moved(&cluster, drained).await["sessions_skipped"], 1);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_taken_back_moves_nothing_more() {
    let calm = calm().await;
    let cluster = Cluster::start(Plan::new(2, 0)).await;
    let (mut talk, drained) = with_session(&cluster).await;
    stuck(&cluster, drained).await;
    let begun = Instant::now();
    let status = ask(&cluster, drained, Method::DELETE, DRAIN).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((&status["draining"], &status["moving"]), (&json!(false), &json!(false)), "{status}");
    let answer = talk.say(&cluster.client(0), "and last?").await;
    assert_eq!(result(&answer).0, result(&calm).0);
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_while_its_session_moves_costs_its_kv_alone() {
    let calm = calm().await;
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let (mut talk, drained) = with_session(&cluster).await;
    stuck(&cluster, drained).await;
    cluster.decode[drained].stop().await;
    let answer = talk.say(&cluster.client(1 - drained), "and last?").await;
    assert_eq!((result(&answer).0, answer.cached()), (result(&calm).0, 0));
    eventually("the drain is over", || async {
        ask(&cluster, drained, Method::GET, "/internal/v1/status").await["moving"] == false
    })
    .await;
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_leave_a_worker_whose_pod_ends() {
    let calm = calm().await;
    let mut cluster = Cluster::start(Plan::new(2, 0)).await;
    let (mut talk, holder) = with_session(&cluster).await;
    cluster.topology.decode[holder].ends = true;
    cluster.write_topology();
    eventually("its member drains", || async {
        ask(&cluster, holder, Method::GET, "/internal/v1/status").await["draining"] == true
    })
    .await;
    let status = moved(&cluster, holder).await;
    assert_eq!((&status["sessions_moved"], &status["ready"]), (&json!(1), &json!(false)), "{status}");
    let answer = talk.say(&cluster.client(holder), "and last?").await;
    assert_eq!(result(&answer), result(&calm));
    assert!(answer.cached() > 64, "{}", answer.cached());
    assert_eq!(answer.header("connection"), "close");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_worker_serves_to_its_end() {
    let mut cluster = Cluster::start(Plan::new(1, 0)).await;
    let (mut talk, _) = with_session(&cluster).await;
    cluster.topology.decode[0].ends = true;
    cluster.write_topology();
    eventually("it tells that it ends", || async {
        cluster.client(0).get("/readyz").await.text.contains("about to end")
    })
    .await;
    let answer = talk.say(&cluster.client(0), "and last?").await;
    assert_eq!((answer.header("connection"), answer.cached() > 64), ("close", true));
    assert_eq!(ask(&cluster, 0, Method::GET, "/internal/v1/status").await["draining"], false);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_worker_nothing_moves_and_nobody_waits() {
    let cluster = Cluster::start(Plan::new(1, 0)).await;
    let (mut talk, _) = with_session(&cluster).await;
    ask(&cluster, 0, Method::POST, DRAIN).await;
    assert_eq!(moved(&cluster, 0).await["sessions_skipped"], 1);
    assert_eq!(moves(&cluster, "nowhere").await, 1.0);
    ask(&cluster, 0, Method::DELETE, DRAIN).await;
    assert!(talk.say(&cluster.client(0), "and last?").await.cached() > 32, "it has kept what it had");
    cluster.stop().await;
}

/// That session on the first worker, whose memory other sessions then fill that are alive.
async fn crowded(cluster: &Cluster) -> Talk {
    ask(cluster, 1, Method::POST, DRAIN).await;
    let (talk, holder) = with_session(cluster).await;
    assert_eq!(holder, 0);
    for name in ["a", "b", "c", "d"] {
        Talk::new(name, json!({"max_tokens": 1700})).say(&cluster.client(0), "hello").await;
    }
    ask(cluster, 1, Method::DELETE, DRAIN).await;
    eventually("the other one takes sessions", || async {
        cluster.client(0).get("/readyz").await.json()["decode"]["ready"] == 2
    })
    .await;
    talk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_opened_where_it_is_better_and_finds_its_kv() {
    let calm = calm().await;
    for entry in [0, 1] {
        let cluster = Cluster::start(Plan::new(2, 0).flags(&["--policy=ampd"])).await;
        let mut talk = crowded(&cluster).await;
        let answer = talk.say(&cluster.client(entry), "and last?").await;
        assert_eq!(result(&answer), result(&calm));
        assert!(answer.cached() > 64 && answer.cached() % 32 != 0, "{}", answer.cached());
        assert_eq!(answer.header("x-ampd-round"), "4");
        let counted = [("cause", "load"), ("outcome", "moved")];
        assert_eq!(cluster.sum("ampd_session_moves_total", &counted).await, 1.0);
        assert_eq!(held(&cluster, 1).await["idle"].as_array().unwrap().len(), 1);
        // There it stays.
        assert!(talk.say(&cluster.client(entry), "go on").await.cached() > 64);
        assert_eq!(cluster.sum("ampd_session_moves_total", &[]).await, 1.0);
        cluster.at_rest().await;
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_whose_session_does_not_get_through_goes_on_where_it_was() {
    let calm = calm().await;
    let cluster = Cluster::start(Plan::new(2, 0).flags(&["--policy=ampd"])).await;
    let mut talk = crowded(&cluster).await;
    cluster.decode[1].kv_relay.refuse(true);
    let answer = talk.say(&cluster.client(0), "and last?").await;
    assert_eq!(result(&answer), result(&calm));
    assert!(answer.cached() > 64, "{}", answer.cached());
    // The next one does not try again.
    assert!(talk.say(&cluster.client(1), "go on").await.cached() > 64);
    assert_eq!(
        cluster.sum("ampd_session_moves_total", &[("cause", "load"), ("outcome", "failed")]).await,
        1.0
    );
    assert_eq!(cluster.sum("ampd_session_moves_total", &[]).await, 1.0);
    assert_eq!(held(&cluster, 1).await, json!({"idle": [], "busy": 0}));
    cluster.at_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_others_leave_sessions_where_they_are_bound() {
    let cluster = Cluster::start(Plan::new(2, 0).flags(&["--policy=paper"])).await;
    let mut talk = crowded(&cluster).await;
    assert!(talk.say(&cluster.client(0), "and last?").await.cached() > 64);
    assert_eq!(cluster.sum("ampd_session_moves_total", &[]).await, 0.0);
    assert_eq!(held(&cluster, 1).await["idle"], json!([]));
    cluster.stop().await;
}

//! Decode workers that are drained, as before a scale-down: their sessions go on elsewhere with all that they had.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::Duration;

use ampd_testkit::chat::{Answer, ChatClient, http};
use ampd_testkit::cluster::{ManualCluster, ManualOptions, Member, model, settled, skipped};
use ampd_testkit::process::Signal;
use ampd_testkit::relay::{Direction, Faults};
use ampd_testkit::wait::until;
use serde_json::{Value, json};

const ROUNDS: usize = 3;
/// Longest time until a drain is over.
const DRAINED: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(30);

async fn cluster() -> Option<(ManualCluster, ChatClient)> {
    if model().is_none() {
        skipped("AMPD_MODEL");
        return None;
    }
    let options = ManualOptions { prefill: 1, decode: 2, ..ManualOptions::default() };
    let cluster = ManualCluster::start(options).await.unwrap();
    let client = ChatClient::new(&cluster.urls()[0]).await.unwrap();
    Some((cluster, client))
}

/// A conversation whose KV no other one shares.
struct Talk {
    session: &'static str,
    messages: Vec<Value>,
}

impl Talk {
    fn new(session: &'static str) -> Self {
        Self { session, messages: Vec::new() }
    }

    async fn say(&mut self, client: &ChatClient) -> Answer {
        let number = self.messages.len() / 2 + 1;
        self.messages
            .push(json!({"role": "user", "content": format!("Tell me fact number {number} about rivers.")}));
        let more = json!({"max_tokens": 24, "cache_salt": self.session});
        let answer = client.round(self.session, &self.messages, more).await.unwrap();
        assert!(answer.complete(), "{answer:?}");
        self.messages.push(json!({"role": "assistant", "content": answer.text}));
        answer
    }

    async fn begun(session: &'static str, client: &ChatClient) -> Self {
        let mut talk = Self::new(session);
        for _ in 0..ROUNDS {
            talk.say(client).await;
        }
        talk
    }
}

/// The last round of a conversation that nothing disturbs.
async fn undisturbed(client: &ChatClient) -> Answer {
    Talk::begun("undisturbed", client).await.say(client).await
}

async fn internal(cluster: &ManualCluster, number: usize, method: reqwest::Method, path: &str) -> Value {
    let sidecar = cluster.member(&format!("sidecar-{number}")).unwrap();
    let url = format!("{}{path}", sidecar.internal_url.as_ref().unwrap());
    http().unwrap().request(method, url).send().await.unwrap().json().await.unwrap()
}

async fn sessions(worker: &Member) -> Value {
    let url = format!("{}/internal/v1/sessions", worker.control_url.as_ref().unwrap());
    http().unwrap().get(url).send().await.unwrap().json().await.unwrap()
}

/// The number of the decode worker that holds a session.
async fn holder(cluster: &ManualCluster, session: &str) -> usize {
    let mut holders = Vec::new();
    for number in 0..2 {
        let told = sessions(cluster.member(&format!("decode-{number}")).unwrap()).await;
        let idle = told["idle"].as_array().unwrap();
        if idle.iter().any(|held| held["session"].as_str().is_some_and(|name| name.ends_with(session))) {
            holders.push(number);
        }
    }
    assert_eq!(holders.len(), 1, "{holders:?}");
    holders[0]
}

#[tokio::test]
async fn sessions_of_a_drained_decode_worker_go_on_with_their_kv() {
    let Some((cluster, client)) = cluster().await else { return };
    let expected = undisturbed(&client).await;
    let mut talk = Talk::begun("moved", &client).await;
    let drained = holder(&cluster, "moved").await;
    internal(&cluster, drained, reqwest::Method::POST, "/internal/v1/drain").await;
    let status = until("nothing is left to move", DRAINED, async || {
        let status = internal(&cluster, drained, reqwest::Method::GET, "/internal/v1/status").await;
        anyhow::ensure!(status["moving"] == false && status["open_rounds"] == 0, "{status}");
        Ok::<_, anyhow::Error>(status)
    });
    let status = status.await.unwrap();
    assert!(status["sessions_moved"].as_u64() >= Some(1) && status["sessions_skipped"] == 0, "{status}");
    assert_eq!(holder(&cluster, "moved").await, 1 - drained);
    let answer = talk.say(&client).await;
    let usage = |answer: &Answer| answer.usage.unwrap().cached;
    assert_eq!((&answer.text, usage(&answer)), (&expected.text, usage(&expected)));
    assert!(usage(&answer) > 0);
    settled(&http().unwrap(), &cluster.members, SETTLE).await.unwrap();
}

#[tokio::test]
async fn a_decode_worker_that_is_killed_while_it_is_drained_costs_no_round() {
    let Some((mut cluster, client)) = cluster().await else { return };
    let expected = undisturbed(&client).await;
    let mut talk = Talk::begun("killed", &client).await;
    let drained = holder(&cluster, "killed").await;
    let other = cluster.member(&format!("decode-{}", 1 - drained)).unwrap().clone();
    let stall = Faults { stall: true, ..Faults::default() };
    cluster.kv_relays[1 - drained].set(Direction::ToTarget, stall);
    internal(&cluster, drained, reqwest::Method::POST, "/internal/v1/drain").await;
    until("a session is on its way", DRAINED, async || {
        anyhow::ensure!(sessions(&other).await["busy"] != 0, "nothing moves");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .unwrap();
    cluster.signal(&format!("decode-{drained}"), Signal::KILL).unwrap();
    cluster.kv_relays[1 - drained].set(Direction::ToTarget, Faults::default());
    let answer = talk.say(&client).await;
    assert_eq!(answer.text, expected.text);
    settled(&http().unwrap(), &cluster.members, SETTLE).await.unwrap();
}

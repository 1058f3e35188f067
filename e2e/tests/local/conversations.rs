//! Multi-round conversations through `ampd local`, held by the official OpenAI client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

use std::collections::BTreeSet;
use std::time::Duration;

use ampd_testkit::chat::{ChatClient, Conversation};
use ampd_testkit::cluster::{
    LocalCluster, LocalOptions, Member, Metrics, Role, model, python, settled, skipped,
};
use ampd_testkit::official::{Plan, Round, converse};

const CONVERSATIONS: usize = 8;
const ROUNDS: usize = 4;
/// How long idle workers may need to let go of what rounds held.
const SETTLE: Duration = Duration::from_secs(10);

/// Whether the tests have what they need.
fn equipped() -> bool {
    let missing = if model().is_none() { "AMPD_MODEL" } else { "AMPD_PYTHON" };
    let equipped = model().is_some() && python().is_some();
    if !equipped {
        skipped(missing);
    }
    equipped
}

fn plan(session: &str) -> Plan<'_> {
    Plan { session, conversations: CONVERSATIONS, rounds: ROUNDS, max_tokens: 24, gaps: false }
}

/// A text as a small model writes it: words, no broken characters, not one word over and over.
fn assert_sane(round: &Round) {
    let text = &round.text;
    assert!(!text.trim().is_empty(), "nothing was said: {round:?}");
    assert!(!text.contains('\u{fffd}'), "broken characters: {round:?}");
    assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "control characters: {round:?}");
    let words: Vec<_> = text.split_whitespace().collect();
    let different: BTreeSet<_> = words.iter().collect();
    assert!(words.len() < 4 || different.len() * 3 > words.len(), "always the same: {round:?}");
}

fn assert_counted(round: &Round) {
    assert_eq!(round.prompt_tokens + round.completion_tokens, round.total_tokens, "{round:?}");
    assert!((1..=24).contains(&round.completion_tokens), "{round:?}");
    assert!(round.chunks as u64 <= round.completion_tokens, "{round:?}");
    assert!(matches!(round.finish_reason.as_deref(), Some("stop" | "length")), "{round:?}");
    assert!(round.cached_tokens < round.prompt_tokens, "{round:?}");
    let header = |name: &str| round.headers.get(name).map_or("", String::as_str);
    assert_eq!(header("x-ampd-session"), round.session);
    assert_eq!(header("x-ampd-round"), round.number.to_string());
    assert!(["local", "remote"].contains(&header("x-ampd-prefill")), "{round:?}");
    assert!(!header("x-ampd-reason").is_empty() && !header("x-request-id").is_empty(), "{round:?}");
}

/// In a session the history grows from round to round, by all that the round before it has computed.
fn assert_history_grows(rounds: &[Round]) {
    for pair in rounds.windows(2).filter(|pair| pair[0].conversation == pair[1].conversation) {
        let (before, now) = (&pair[0], &pair[1]);
        assert!(now.cached_tokens > before.cached_tokens, "{before:?}\n{now:?}");
        // At least the prompt of the round before is kept.
        assert!(now.cached_tokens >= before.prompt_tokens, "{before:?}\n{now:?}");
    }
}

/// Sums of the decisions at all sidecars: all, and those of one target.
async fn decisions(members: &[Member]) -> (f64, f64, f64, f64) {
    let http = ampd_testkit::chat::http().unwrap();
    let mut sums = (0.0, 0.0, 0.0, 0.0);
    for member in members.iter().filter(|member| member.role == Role::Sidecar) {
        let metrics = Metrics::read(&http, member).await.unwrap();
        let name = "ampd_prefill_decisions_total";
        assert!(
            metrics.series(name, &[]).all(|sample| sample.label("reason").is_some_and(|r| !r.is_empty()))
        );
        sums.0 += metrics.sum(name, &[]);
        sums.1 += metrics.sum(name, &[("target", "local")]);
        sums.2 += metrics.sum(name, &[("target", "remote")]);
        sums.3 += metrics.sum("ampd_rounds_total", &[("outcome", "ok")]);
    }
    sums
}

/// Holds the conversations, checks every round, and gives them with the number of local and remote decisions.
async fn hold(options: LocalOptions, session: &str) -> (Vec<Round>, f64, f64) {
    let cluster = LocalCluster::start(options).await.unwrap();
    let rounds = converse(&cluster.url, plan(session)).await.unwrap();
    for round in &rounds {
        assert_sane(round);
        assert_counted(round);
    }
    assert_history_grows(&rounds);
    let members = cluster.members().unwrap();
    let (all, local, remote, ok) = decisions(&members).await;
    assert_eq!(all, (CONVERSATIONS * ROUNDS) as f64, "a decision for each round");
    assert_eq!(local + remote, all, "every decision has a target");
    assert_eq!(ok, all, "every round ended well");
    settled(&ampd_testkit::chat::http().unwrap(), &members, SETTLE).await.unwrap();
    cluster.stop().await.unwrap();
    (rounds, local, remote)
}

fn prefilled(rounds: &[Round], place: &str) -> usize {
    rounds.iter().filter(|round| round.headers.get("x-ampd-prefill").is_some_and(|at| at == place)).count()
}

#[tokio::test]
async fn eight_conversations_use_their_history_and_both_places() {
    if !equipped() {
        return;
    }
    let (rounds, local, remote) = hold(LocalOptions::new(2, 2), "default").await;
    assert!(local > 0.0 && remote > 0.0, "{local} local and {remote} remote decisions");
    assert!(prefilled(&rounds, "remote") > 0 && prefilled(&rounds, "local") > 0);
    // The sessions are spread over both decode workers, so that some rounds pass through two sidecars.
    assert_eq!(rounds.iter().filter(|round| round.number == ROUNDS).count(), CONVERSATIONS);
}

#[tokio::test]
async fn each_policy_decides_as_it_is_named() {
    if !equipped() {
        return;
    }
    let (rounds, local, remote) = hold(LocalOptions::new(1, 2).policy("always_local"), "local").await;
    assert_eq!((local, remote), ((CONVERSATIONS * ROUNDS) as f64, 0.0));
    assert_eq!(prefilled(&rounds, "local"), rounds.len());
    // Without prefill workers everything is aggregated, whatever the policy.
    let (rounds, local, remote) = hold(LocalOptions::new(0, 1).policy("always_remote"), "alone").await;
    assert_eq!((local, remote), ((CONVERSATIONS * ROUNDS) as f64, 0.0));
    assert_eq!(prefilled(&rounds, "local"), rounds.len());
}

#[tokio::test]
async fn a_stream_ends_with_its_mark_and_the_service_names_a_session() {
    if model().is_none() {
        return skipped("AMPD_MODEL");
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 1)).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    let mut conversation = Conversation::new(&client, "raw");
    let mut cached = 0;
    for (number, text) in ["What is the capital of France?", "And of Spain?"].into_iter().enumerate() {
        let answer = conversation.say(text, 16).await.unwrap();
        assert!(answer.complete(), "{answer:?}");
        let usage = answer.usage.expect("the usage was asked for");
        assert!(number == 0 || usage.cached > cached, "{answer:?}");
        cached = usage.cached;
    }
    assert!(conversation.messages[1]["content"].as_str().unwrap().contains("Paris"), "{conversation:?}");
    cluster.stop().await.unwrap();
}

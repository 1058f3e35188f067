//! Where a prefill runs changes no text: the same greedy conversations all local, all remote and mixed.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use ampd_testkit::cluster::{LocalCluster, LocalOptions, model, python, skipped};
use ampd_testkit::official::{Plan, Round, converse};

/// Rounds whose increment is smaller than this stay local under every policy.
const SMALL: u64 = 32;

async fn run(policy: &str) -> Vec<Round> {
    let cluster = LocalCluster::start(LocalOptions::new(1, 2).policy(policy)).await.unwrap();
    let plan = Plan { session: "same", conversations: 6, rounds: 3, max_tokens: 24, gaps: true };
    let rounds = converse(&cluster.url, plan).await.unwrap();
    cluster.stop().await.unwrap();
    rounds
}

fn remote(rounds: &[Round]) -> usize {
    rounds.iter().filter(|round| round.headers["x-ampd-prefill"] == "remote").count()
}

/// How near the two best tokens were where two outputs of the same prompt part.
fn parted(left: &Round, right: &Round) -> Option<(usize, Option<f64>)> {
    let tokens = left.gaps.iter().zip(&right.gaps);
    let mut tokens = tokens.enumerate().filter(|(_, (left, right))| left.token != right.token);
    let length = left.gaps.len() != right.gaps.len();
    tokens.next().map(|(at, (gap, _))| (at, gap.gap)).or(length.then_some((usize::MAX, None)))
}

#[tokio::test]
async fn local_remote_and_mixed_runs_say_the_same() {
    if model().is_none() || python().is_none() {
        return skipped("AMPD_MODEL or AMPD_PYTHON");
    }
    let local = run("always_local").await;
    let all_remote = run("always_remote").await;
    let mixed = run("paper").await;
    let scored = run("ampd").await;
    assert_eq!(remote(&local), 0);
    // Increments of a token or so have nothing to compute elsewhere, and small ones stay where they are.
    for round in &all_remote {
        let increment = round.prompt_tokens - round.cached_tokens;
        let stays = round.headers["x-ampd-prefill"] == "local";
        assert!(!stays || increment < SMALL, "an increment of {increment} stayed local: {round:?}");
    }
    assert!(remote(&all_remote) > 0 && remote(&mixed) > 0, "nothing was remote");
    assert!(remote(&mixed) < mixed.len(), "nothing was local");
    let mut differences = Vec::new();
    for (name, other) in [("always_remote", &all_remote), ("paper", &mixed), ("ampd", &scored)] {
        for (left, right) in local.iter().zip(other.iter()) {
            assert_eq!((left.conversation, left.number), (right.conversation, right.number));
            if left.text != right.text || parted(left, right).is_some() {
                differences.push(format!(
                    "{name}: conversation {}, round {}, (token, distance of the two best) {:?}: {:?} and {:?}",
                    left.conversation, left.number, parted(left, right), left.text, right.text
                ));
            }
        }
    }
    // The engine gives the same bits wherever it computes: not even near ties may fall differently.
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

//! All sessions of a plan against a service.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::calibrate::calibrate;
use crate::client::{Client, RoundError};
use crate::plan::Plan;
use crate::record::RoundRecord;
use crate::session::Session;

/// Events that may wait for whoever shows them.
const WAITING: usize = 1024;

/// What happens during a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// A round came to its end, or failed.
    Round(RoundRecord),
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Run {
    /// The rounds by session and number.
    pub rounds: Vec<RoundRecord>,
    /// From the first session's beginning to the last round's end.
    pub took: Duration,
    /// Tokens of a word, as the service counts.
    pub tokens_per_word: f64,
}

/// Holds all sessions of the plan, each in its time, and tells `seen` of each round. Ends early when `stop` says so, with the
/// rounds until then.
///
/// # Errors
/// When the service does not answer a first request at all.
pub async fn run(
    client: &Client,
    plan: Plan,
    seed: u64,
    stop: CancellationToken,
    mut seen: impl FnMut(&Event),
) -> Result<Run, RoundError> {
    let tokens = tokio::select! {
        () = stop.cancelled() => return Ok(Run { rounds: Vec::new(), took: Duration::ZERO, tokens_per_word: 1.0 }),
        tokens = calibrate(client, seed) => tokens?,
    };
    let (events, mut happened) = mpsc::channel(WAITING);
    let start = Instant::now();
    let mut sessions = JoinSet::new();
    for (index, plan) in plan.sessions.into_iter().enumerate() {
        let (client, events, stop) = (client.clone(), events.clone(), stop.clone());
        sessions.spawn(Session { client, plan, index, seed, tokens, start, events, stop }.hold());
    }
    drop(events);
    while let Some(event) = happened.recv().await {
        seen(&event);
    }
    let mut rounds = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        match ended {
            Ok(records) => rounds.extend(records),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    rounds.sort_by_key(|record| (record.session, record.round));
    Ok(Run { rounds, took: start.elapsed(), tokens_per_word: tokens.per_word })
}

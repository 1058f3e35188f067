//! What `ampd bench` measured, as a trace to be simulated: the very rounds that were sent, at their times.

use std::collections::BTreeMap;
use std::path::Path;

use ampd_loadgen::RoundRecord;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};
use serde::Deserialize;

use crate::evaluate::InputError;

/// The part of the file that is needed.
#[derive(Debug, Deserialize)]
struct File {
    rounds: Vec<RoundRecord>,
}

/// The rounds that ended, in the order of sending; those that failed are left out, with what came after them.
pub(super) fn read(path: &Path) -> Result<Vec<RoundRecord>, InputError> {
    let text = std::fs::read(path).map_err(|source| InputError::Read { path: path.to_owned(), source })?;
    let file: File = serde_json::from_slice(&text)
        .map_err(|source| InputError::Measured { path: path.to_owned(), source })?;
    let mut rounds: Vec<RoundRecord> = file.rounds.into_iter().filter(ended).collect();
    if rounds.is_empty() {
        return Err(InputError::NothingMeasured { path: path.to_owned() });
    }
    rounds.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
    Ok(rounds)
}

fn ended(round: &RoundRecord) -> bool {
    round.failure.is_none() && round.prompt_tokens.is_some() && round.total_s.is_some()
}

/// The trace of these rounds. Lengths are those that the service counted, gaps and arrivals those that passed.
pub(super) fn trace(rounds: &[RoundRecord]) -> Trace {
    let mut sessions: BTreeMap<usize, Vec<&RoundRecord>> = BTreeMap::new();
    for round in rounds {
        sessions.entry(round.session).or_default().push(round);
    }
    let sessions = sessions.values().map(|rounds| session(rounds)).collect();
    Trace { sessions }
}

fn session(rounds: &[&RoundRecord]) -> TraceSession {
    let arrival_s = rounds.first().map(|round| round.sent_s);
    let (mut context, mut ended_s) = (0_u64, None);
    let rounds: Vec<TraceRound> = rounds
        .iter()
        .map(|round| {
            let (prompt, output) =
                (round.prompt_tokens.unwrap_or(1), round.output_tokens.unwrap_or(1).max(1));
            // What the service did not compute of the session's own history: a text that is read again may have other
            // tokens. A first round's prompt may begin as others do; to the simulator it is new.
            let known = if context == 0 {
                0
            } else {
                round.cached_tokens.unwrap_or(context).min(prompt.saturating_sub(1))
            };
            let keep = (context > 0).then(|| narrow(known));
            let increment = narrow(prompt.saturating_sub(known).max(1));
            let gap_s = ended_s.map_or(0.0, |ended_s: f64| (round.sent_s - ended_s).max(0.0));
            ended_s = Some(round.sent_s + round.total_s.unwrap_or(0.0));
            context = prompt + output;
            TraceRound { increment, output: narrow(output), gap_s, keep }
        })
        .collect();
    TraceSession { arrival_s, rounds }
}

fn narrow(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(json: &serde_json::Value) -> Vec<RoundRecord> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        std::fs::write(&path, serde_json::to_vec(json).unwrap()).unwrap();
        read(&path).unwrap()
    }

    fn round(session: u64, number: u64, sent_s: f64, more: &serde_json::Value) -> serde_json::Value {
        let mut round = serde_json::json!({
            "session": session, "round": number, "sent_s": sent_s, "ttft_s": 0.5, "total_s": 2.0, "itl_s": 0.1,
            "prompt_tokens": 100, "cached_tokens": 0, "output_tokens": 10,
        });
        let fields = more.as_object().unwrap().clone();
        round.as_object_mut().unwrap().extend(fields);
        round
    }

    #[test]
    fn rounds_come_again_as_they_were_sent() {
        let json = serde_json::json!({"rounds": [
            round(1, 1, 3.0, &serde_json::json!({"cached_tokens": 32})),
            round(0, 2, 4.0, &serde_json::json!({"prompt_tokens": 130, "cached_tokens": 96})),
            round(0, 1, 1.0, &serde_json::json!({})),
            round(1, 2, 9.0, &serde_json::json!({"failure": "timeout"})),
        ]});
        let trace = trace(&rounds(&json));
        let arrivals: Vec<_> = trace.sessions.iter().map(|session| session.arrival_s).collect();
        assert_eq!(arrivals, [Some(1.0), Some(3.0)]);
        let first = TraceRound { increment: 100, output: 10, gap_s: 0.0, keep: None };
        // 96 of the 110 tokens are known still; the round before ended a second earlier.
        let second = TraceRound { increment: 34, output: 10, gap_s: 1.0, keep: Some(96) };
        assert_eq!(trace.sessions[0].rounds, [first, second]);
        // The round that failed is left out.
        assert_eq!(trace.sessions[1].rounds, [first]);
    }

    #[test]
    fn a_service_that_tells_no_cached_tokens_is_taken_to_have_all() {
        let untold = serde_json::json!({"prompt_tokens": 80, "cached_tokens": null});
        let json = serde_json::json!({"rounds": [
            round(0, 1, 1.0, &serde_json::json!({})),
            round(0, 2, 4.0, &untold),
        ]});
        let again = trace(&rounds(&json)).sessions[0].rounds[1];
        assert_eq!((again.keep, again.increment), (Some(79), 1));
    }
}

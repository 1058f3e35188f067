//! Writing a trace: one JSON object a line.

use serde::Serialize;

use super::{Trace, TraceRound};

#[derive(Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival_s: Option<f64>,
    rounds: Vec<LineRound>,
}

#[derive(Serialize)]
struct LineRound {
    new_input_tokens: u32,
    output_tokens: u32,
    think_time_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_keep: Option<u32>,
}

impl From<&TraceRound> for LineRound {
    fn from(round: &TraceRound) -> Self {
        Self {
            new_input_tokens: round.increment,
            output_tokens: round.output,
            think_time_s: round.gap_s,
            history_keep: round.keep,
        }
    }
}

/// The trace as text that [`parse`](fn@super::parse) reads.
///
/// # Errors
/// When a number has no JSON.
pub fn write(trace: &Trace) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for session in &trace.sessions {
        let rounds = session.rounds.iter().map(LineRound::from).collect();
        text.push_str(&serde_json::to_string(&Line { arrival_s: session.arrival_s, rounds })?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{TraceSession, parse};

    #[test]
    fn what_is_written_is_read_again() {
        let round = TraceRound { increment: 7, output: 3, gap_s: 0.0, keep: None };
        let later = TraceRound { increment: 1, output: 1, gap_s: 1.25, keep: Some(9) };
        let trace = Trace {
            sessions: vec![
                TraceSession { arrival_s: Some(0.5), rounds: vec![round, later] },
                TraceSession { arrival_s: None, rounds: vec![round] },
            ],
        };
        assert_eq!(parse(write(&trace).unwrap().as_bytes(), 4.0).unwrap(), trace);
    }
}

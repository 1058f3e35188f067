//! Reading a trace: one JSON object a line.

use serde::Deserialize;

use super::{Trace, TraceError, TraceProblem, TraceRound, TraceSession};

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    arrival_s: Option<f64>,
    rounds: Vec<LineRound>,
}

#[derive(Deserialize)]
struct LineRound {
    #[serde(default)]
    round: Option<u64>,
    new_input_tokens: f64,
    output_tokens: f64,
    #[serde(default)]
    think_time_s: Option<f64>,
    #[serde(default)]
    history_keep: Option<f64>,
}

/// Reads a trace: a JSON object a line, with `rounds` of `new_input_tokens`, `output_tokens` and, from the second on,
/// `think_time_s`; optional are `arrival_s`, a round's number `round` and `history_keep`. Other fields are left out.
/// `missing_gap_s` stands for think times that the source does not tell.
///
/// # Errors
/// Names the line and what is wrong with it; also when there is no session at all.
pub fn parse(text: &[u8], missing_gap_s: f64) -> Result<Trace, TraceError> {
    let mut sessions = Vec::new();
    for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let session =
            session(bytes, missing_gap_s).map_err(|problem| TraceError::Line { line: index + 1, problem })?;
        sessions.push(session);
    }
    if sessions.is_empty() { Err(TraceError::Empty) } else { Ok(Trace { sessions }) }
}

fn session(bytes: &[u8], missing_gap_s: f64) -> Result<TraceSession, TraceProblem> {
    let line: Line = serde_json::from_str(std::str::from_utf8(bytes)?)?;
    if line.rounds.is_empty() {
        return Err(TraceProblem::NoRounds);
    }
    if let Some(arrival) = line.arrival_s
        && !(arrival.is_finite() && arrival >= 0.0)
    {
        return Err(TraceProblem::Arrival(arrival));
    }
    let rounds = line.rounds.iter().enumerate().map(|(index, round)| convert(index, round, missing_gap_s));
    Ok(TraceSession { arrival_s: line.arrival_s, rounds: rounds.collect::<Result<_, _>>()? })
}

fn convert(index: usize, line: &LineRound, missing_gap_s: f64) -> Result<TraceRound, TraceProblem> {
    let round = index + 1;
    if let Some(got) = line.round
        && got != round as u64
    {
        return Err(TraceProblem::Order { got, wanted: round as u64 });
    }
    let gap_s = line.think_time_s.unwrap_or(if index == 0 { 0.0 } else { missing_gap_s });
    if !(gap_s.is_finite() && gap_s >= 0.0) {
        let wanted = "a number of seconds that is not negative";
        return Err(TraceProblem::Number { round, field: "think_time_s", value: gap_s, wanted });
    }
    Ok(TraceRound {
        increment: count(round, "new_input_tokens", line.new_input_tokens, 1.0)?,
        output: count(round, "output_tokens", line.output_tokens, 1.0)?,
        gap_s,
        keep: line.history_keep.map(|keep| count(round, "history_keep", keep, 0.0)).transpose()?,
    })
}

/// A number of tokens of at least `least` and at most a thousand million.
fn count(round: usize, field: &'static str, value: f64, least: f64) -> Result<u32, TraceProblem> {
    if value.fract() == 0.0 && (least..=1e9).contains(&value) {
        return Ok(value as u32);
    }
    let wanted = if least > 0.0 { "a whole number from 1 to 1e9" } else { "a whole number from 0 to 1e9" };
    Err(TraceProblem::Number { round, field, value, wanted })
}

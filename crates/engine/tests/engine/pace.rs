//! Prompts whose rows the caller bounds anew at each step.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::Instant;

use crate::common::{Outcomes, alone, content, drain, request, small_steps, text};
use ampd_engine::core::{Engine, EngineOptions, NoHook, RoundId, RoundRequest};

fn open_and_run(engine: &mut Engine, request: RoundRequest) -> RoundId {
    let now = Instant::now();
    let id = engine.open(request, now).unwrap().id;
    engine.run_local(id, now).unwrap();
    id
}

#[test]
fn paced_prompts_share_their_rows_and_hold_up_no_last_token() {
    let mut engine = Engine::new(content(64), EngineOptions { token_budget: 64, ..small_steps() });
    let first = open_and_run(&mut engine, request("a", text(1, 50), 5));
    let second = open_and_run(&mut engine, request("b", text(2, 30), 5));
    engine.pace(Some(40));
    let mut outcomes = Outcomes::default();
    let mut parts = Vec::new();
    for _ in 0..3 {
        let report = engine.step(Instant::now(), &mut NoHook).unwrap();
        parts.push(report.prefill_parts.iter().map(|part| part.increment).collect::<Vec<_>>());
        outcomes.take(report);
    }
    assert_eq!(parts, [vec![40], vec![10, 30], vec![]]);
    // A prompt whose last token is left goes on beside one that takes all rows there are.
    open_and_run(&mut engine, request("c", text(3, 41), 1));
    let large = open_and_run(&mut engine, request("d", text(4, 100), 1));
    let report = engine.step(Instant::now(), &mut NoHook).unwrap();
    assert_eq!((report.prefill_rows, report.decode_rows), (40, 2));
    outcomes.take(report);
    let report = engine.step(Instant::now(), &mut NoHook).unwrap();
    assert_eq!((report.prefill_rows, report.decode_rows), (1 + 40, 2));
    outcomes.take(report);
    engine.pace(None);
    let report = engine.step(Instant::now(), &mut NoHook).unwrap();
    assert_eq!(report.prefill_rows, 20, "the options' own chunk");
    outcomes.take(report);
    drain(&mut engine, &mut outcomes);
    for (id, asked) in [
        (first, request("a", text(1, 50), 5)),
        (second, request("b", text(2, 30), 5)),
        (large, request("d", text(4, 100), 1)),
    ] {
        assert_eq!(outcomes.get(id).output(), alone(content, asked).output());
    }
}

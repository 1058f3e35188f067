//! Prompts whose rows and order the caller decides anew at each step.

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

/// The rounds in the order in which they have their first tokens.
fn first_tokens(engine: &mut Engine, outcomes: &mut Outcomes, rounds: &[RoundId]) -> Vec<RoundId> {
    let mut begun = Vec::new();
    while engine.has_work() {
        outcomes.take(engine.step(Instant::now(), &mut NoHook).unwrap());
        for &id in rounds {
            if !begun.contains(&id) && !outcomes.get(id).tokens.is_empty() {
                begun.push(id);
            }
        }
    }
    begun
}

#[test]
fn prompts_that_are_preferred_go_before_older_ones_that_run_or_wait() {
    let options = EngineOptions { token_budget: 64, max_running: 8, ..small_steps() };
    let mut engine = Engine::new(content(64), options);
    let running = open_and_run(&mut engine, request("a", text(1, 150), 2));
    engine.pace(Some(32));
    let mut outcomes = Outcomes::default();
    outcomes.take(engine.step(Instant::now(), &mut NoHook).unwrap());
    let [second, third, fourth] = [("b", 2), ("c", 3), ("d", 4)]
        .map(|(name, seed)| open_and_run(&mut engine, request(name, text(seed, 60), 2)));
    engine.prefer(&[fourth, second]);
    let begun = first_tokens(&mut engine, &mut outcomes, &[running, second, third, fourth]);
    assert_eq!(begun, [fourth, second, running, third], "those that are not named go by age");
    assert_eq!(outcomes.get(third).output(), alone(content, request("c", text(3, 60), 2)).output());
    let asked = request("a", text(1, 150), 2);
    assert_eq!(outcomes.get(running).output(), alone(content, asked).output());
}

/// Small prompts that are preferred come for ever, and each time there are not enough blocks left for a large one.
#[test]
fn a_preference_holds_up_nobody_who_waits_for_blocks() {
    let mut engine = Engine::new(content(10), small_steps());
    let large = open_and_run(&mut engine, request("large", text(9, 120), 2));
    let mut outcomes = Outcomes::default();
    let turn = (0_u32..200).find(|&turn| {
        for seat in 0..4 {
            let asked = request(&format!("s{seat}"), text(100 + 4 * turn + seat, 40), 3);
            if let Ok(opened) = engine.open(asked, Instant::now()) {
                engine.run_local(opened.id, Instant::now()).unwrap();
            }
        }
        let queued = engine.load().prefills;
        let small: Vec<RoundId> =
            queued.iter().map(|prefill| prefill.round).filter(|&id| id != large).collect();
        engine.prefer(&small);
        outcomes.take(engine.step(Instant::now(), &mut NoHook).unwrap());
        outcomes.get(large).is_over()
    });
    assert!(turn.is_some(), "it never had its turn");
}

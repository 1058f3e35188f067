//! A backend that fails or computes nonsense: the rounds concerned fail, the engine goes on, and nothing bad is kept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::common::faulty::{Faults, FaultyBackend};
use crate::common::{Outcomes, SALT, alone, check, content, drain, request, run, small_steps, step, text};
use ampd_engine::core::{Engine, EngineError, NoHook, RoundError, RoundRequest};

fn faulty() -> (Engine, Faults) {
    let faults = Faults::default();
    let backend = FaultyBackend { inner: content(32), faults: faults.clone() };
    (Engine::new(Box::new(backend), small_steps()), faults)
}

#[test]
fn logits_that_are_not_finite_fail_their_round_alone() {
    let (mut engine, faults) = faulty();
    let now = Instant::now();
    let first = engine.open(request("a", text(1, 40), 30), now).unwrap().id;
    let second = engine.open(request("b", text(2, 40), 30), now).unwrap().id;
    engine.run_local(first, now).unwrap();
    engine.run_local(second, now).unwrap();
    let mut outcomes = Outcomes::default();
    while outcomes.get(second).tokens.len() < 3 {
        step(&mut engine, &mut NoHook, &mut outcomes);
    }
    faults.nan.store(true, Relaxed);
    step(&mut engine, &mut NoHook, &mut outcomes);
    faults.nan.store(false, Relaxed);
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(first).error, Some(RoundError::NonFiniteLogits));
    assert_eq!(outcomes.get(second).output(), alone(content, request("b", text(2, 40), 30)).output());
    // None of its KV is offered again.
    let opened = engine.open(request("a", text(1, 60), 3), now).unwrap();
    assert_eq!(opened.history, 0);
}

#[test]
fn prompt_logits_are_checked_too() {
    let (mut engine, faults) = faulty();
    faults.nan.store(true, Relaxed);
    let scored = RoundRequest { prompt_logprobs: Some(1), max_tokens: 0, ..request("a", text(1, 40), 1) };
    assert_eq!(run(&mut engine, scored).error, Some(RoundError::NonFiniteLogits));
    check(&engine);
}

#[test]
fn failed_step_fails_its_rounds_and_no_other() {
    let (mut engine, faults) = faulty();
    let now = Instant::now();
    run(&mut engine, request("a", text(1, 40), 5));
    let round = engine.open(request("a", text(1, 90), 5), now).unwrap().id;
    engine.run_local(round, now).unwrap();
    let task = engine.open_prefill(text(7, 50), SALT, now).unwrap().id;
    engine.start_prefill(task, 0, now).unwrap();
    let opened = engine.open(request("b", text(2, 40), 5), now).unwrap().id;
    faults.step.store(true, Relaxed);
    let mut outcomes = Outcomes::default();
    step(&mut engine, &mut NoHook, &mut outcomes);
    faults.step.store(false, Relaxed);
    for failed in [round, task] {
        let Some(RoundError::Backend { message }) = outcomes.get(failed).error else { panic!("must fail") };
        assert!(message.contains("a fault was asked for"), "{message}");
    }
    assert_eq!(engine.ledger().active + engine.ledger().leased, 0);
    engine.run_local(opened, now).unwrap();
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(opened).tokens.len(), 5);
    let again = run(&mut engine, request("a", text(1, 90), 5));
    assert_eq!(again.history, 40, "what was valid before the failure still is");
    assert_eq!(again.output(), alone(content, request("a", text(1, 90), 5)).output());
}

#[test]
fn failed_copy_fails_the_round_or_refuses_the_lease() {
    let (mut engine, faults) = faulty();
    let now = Instant::now();
    run(&mut engine, request("a", text(1, 64), 1));
    let mut tokens = text(1, 50);
    tokens.extend(text(3, 40));
    faults.copy.store(true, Relaxed);
    let opened = engine.open(request("a", tokens.clone(), 12), now).unwrap();
    assert_eq!(opened.history, 50);
    let error = engine.lease_remote(opened.id, now).unwrap_err();
    assert!(matches!(error, EngineError::Backend(_)), "{error}");
    check(&engine);
    // The part of the block is lost, the rest is computed again.
    engine.run_local(opened.id, now).unwrap();
    let mut outcomes = Outcomes::default();
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(opened.id).output(), alone(content, request("a", tokens.clone(), 12)).output());

    assert_eq!(outcomes.get(opened.id).history, 32, "the rest of its history was lost with the copy");

    // By now the third block is whole and in the prefix cache: who goes on from its middle needs a copy.
    let mut changed = tokens[..70].to_vec();
    changed.extend(text(4, 20));
    let outcome = run(&mut engine, request("a", changed.clone(), 5));
    let Some(RoundError::Backend { message }) = outcome.error else { panic!("must fail: {outcome:?}") };
    assert!(message.contains("a fault was asked for"), "{message}");
    assert!(outcome.tokens.is_empty());
    check(&engine);
    faults.copy.store(false, Relaxed);
    let outcome = run(&mut engine, request("a", changed.clone(), 5));
    assert_eq!(outcome.history, 64, "the session keeps the whole blocks");
    assert_eq!(outcome.output(), alone(content, request("a", changed, 5)).output());
}

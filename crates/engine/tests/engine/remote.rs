//! Two engines, KV moved between them as two workers would: the result is what one engine alone computes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::common::transfer::{Collect, assert_covers_once, read, remote_prefill};
use crate::common::{
    MakeBackend, Outcome, Outcomes, SALT, alone, backends, check, content, drain, request, run, small_steps,
    step, text,
};
use ampd_engine::core::{Engine, EngineError, EngineOptions, NoHook, RoundId, RoundRequest};

/// Runs a round with its increment prefilled by another engine.
fn run_remote(decode: &mut Engine, prefill: &mut Engine, request: RoundRequest) -> Outcome {
    let tokens = request.tokens.clone();
    let opened = decode.open(request, Instant::now()).unwrap();
    remote_prefill(decode, prefill, opened.id, &tokens);
    check(decode);
    check(prefill);
    let mut outcomes = Outcomes::default();
    drain(decode, &mut outcomes);
    outcomes.get(opened.id)
}

#[test]
fn local_remote_and_mixed_give_the_same_text() {
    for (name, make) in backends() {
        let engine = || Engine::new(make(64), small_steps());
        let (mut local, mut remote, mut mixed) = (engine(), engine(), engine());
        let mut prefills = [engine(), engine()];
        let mut tokens = text(1, 75);
        for round in 0..5 {
            let request = request("chat", tokens.clone(), 21);
            let expected = run(&mut local, request.clone());
            let from = &mut prefills[round as usize % 2];
            let outcome = run_remote(&mut remote, from, request.clone());
            assert_eq!(outcome, expected, "{name}, round {round}, remote");
            let outcome =
                if round % 2 == 0 { run(&mut mixed, request) } else { run_remote(&mut mixed, from, request) };
            assert_eq!(outcome, expected, "{name}, round {round}, mixed");
            tokens.extend(&expected.tokens);
            tokens.extend(text(100 + round, 23));
        }
        for engine in [local, remote, mixed].iter().chain(&prefills) {
            assert_eq!((engine.ledger().active, engine.ledger().leased), (0, 0));
        }
    }
}

#[test]
fn moved_kv_is_the_same_bits() {
    for (name, make) in backends() {
        let (mut decode, mut prefill) =
            (Engine::new(make(64), small_steps()), Engine::new(make(64), small_steps()));
        let tokens = text(4, 90);
        let opened = decode.open(request("a", tokens.clone(), 9), Instant::now()).unwrap();
        remote_prefill(&mut decode, &mut prefill, opened.id, &tokens);
        let mut whole = Engine::new(make(64), EngineOptions::default());
        let own = whole.open(request("a", tokens, 9), Instant::now()).unwrap();
        whole.run_local(own.id, Instant::now()).unwrap();
        step(&mut whole, &mut NoHook, &mut Outcomes::default());
        for layer in 0..whole.kv_shape().layers {
            for tokens in [0..89, 31..33, 17..70] {
                let moved = read(&decode, opened.id, layer, tokens.clone());
                assert_eq!(moved, read(&whole, own.id, layer, tokens), "{name}, layer {layer}");
            }
        }
    }
}

/// A decode engine with a leased round, and what is to be written to it.
fn leased(
    make: MakeBackend,
    max_tokens: usize,
) -> (Engine, RoundId, RoundRequest, Engine, RoundId, Range<usize>) {
    let mut decode = Engine::new(make(16), small_steps());
    let tokens = text(6, 90);
    run(&mut decode, request("a", tokens[..41].to_vec(), 1));
    let request = request("a", tokens, max_tokens);
    let id = decode.open(request.clone(), Instant::now()).unwrap().id;
    let range = decode.lease_remote(id, Instant::now()).unwrap();
    check(&decode);
    // Any range of the right KV can be read from this one.
    let mut source = Engine::new(make(16), EngineOptions::default());
    let whole = source.open(request.clone(), Instant::now()).unwrap().id;
    source.run_local(whole, Instant::now()).unwrap();
    step(&mut source, &mut NoHook, &mut Outcomes::default());
    (decode, id, request, source, whole, range.history..range.end)
}

#[test]
fn writes_come_in_any_order_and_more_than_once() {
    for (name, make) in backends() {
        let (mut decode, id, request, source, whole, range) = leased(make, 20);
        assert_eq!(range, 41..89);
        assert_eq!(decode.ledger().leased, 1, "one block is partly history, and so active");
        for layer in (0..source.kv_shape().layers).rev() {
            for part in [70..89, 64..65, 41..50, 64..65, 70..89, 45..72] {
                let error = decode.commit_remote(id, Instant::now()).unwrap_err();
                assert!(matches!(error, EngineError::IncompleteTransfer { .. }), "{error}");
                let data = read(&source, whole, layer, part.clone());
                decode.write_remote(id, layer, part, &data).unwrap();
                check(&decode);
            }
        }
        decode.commit_remote(id, Instant::now()).unwrap();
        check(&decode);
        let mut outcomes = Outcomes::default();
        drain(&mut decode, &mut outcomes);
        assert_eq!(outcomes.get(id).output(), alone(make, request).output(), "{name}");
    }
}

#[test]
fn half_written_blocks_are_never_used() {
    let (mut decode, id, request, source, whole, range) = leased(content, 20);
    let garbage = vec![0xab; (range.end - range.start) * source.kv_shape().token_layer_bytes()];
    decode.write_remote(id, 0, range.clone(), &garbage).unwrap();
    let other =
        decode.open(RoundRequest { session: "b".to_owned(), ..request.clone() }, Instant::now()).unwrap();
    assert_eq!(other.history, 32, "what the session had before, not what was written");
    decode.cancel(other.id, Instant::now());
    decode.abort_remote(id, Instant::now()).unwrap();
    check(&decode);
    assert_eq!(decode.ledger().leased, 0);
    let data = read(&source, whole, 0, range.clone());
    let error = decode.write_remote(id, 0, range, &data).unwrap_err();
    assert!(matches!(error, EngineError::WrongState { .. }), "{error}");
    let mut outcomes = Outcomes::default();
    drain(&mut decode, &mut outcomes);
    assert_eq!(outcomes.get(id).output(), alone(content, request).output());
}

#[test]
fn cancelled_lease_leaves_the_session_as_it_was() {
    let (mut decode, id, request, source, whole, range) = leased(content, 20);
    let data = read(&source, whole, 1, range.clone());
    decode.write_remote(id, 1, range, &data).unwrap();
    decode.cancel(id, Instant::now());
    check(&decode);
    assert_eq!((decode.ledger().active, decode.ledger().leased), (0, 0));
    let outcome = run(&mut decode, request.clone());
    assert_eq!(outcome.history, 41);
    assert_eq!(outcome.output(), alone(content, request).output());
}

#[test]
fn lease_outlives_the_time_of_opened_rounds() {
    let (mut decode, id, ..) = leased(content, 20);
    decode.expire(Instant::now() + Duration::from_mins(1));
    assert!(decode.abort_remote(id, Instant::now()).is_ok());
}

#[test]
fn wrong_writes_are_refused() {
    let (mut decode, id, _, source, ..) = leased(content, 20);
    let bytes = source.kv_shape().token_layer_bytes();
    let mut write = |layer: usize, tokens: Range<usize>, length: usize| {
        decode.write_remote(id, layer, tokens, &vec![0; length]).unwrap_err()
    };
    for (layer, tokens) in [(0, 40..50), (0, 80..90), (2, 41..50), (0, 0..usize::MAX), (usize::MAX, 41..42)] {
        let error = write(layer, tokens, bytes);
        assert!(matches!(error, EngineError::OutOfRange { .. }), "{error}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a peer may send one")]
    let backwards = 50..41;
    assert!(matches!(write(0, backwards, 0), EngineError::OutOfRange { .. }));
    let error = write(0, 41..43, 2 * bytes - 1);
    assert!(matches!(error, EngineError::TransferLength { tokens: 2, .. }), "{error}");
    let mut out = Vec::new();
    assert!(decode.read_kv(id, 0, 0..41, &mut out).is_ok());
    assert!(matches!(decode.read_kv(id, 0, 0..42, &mut out), Err(EngineError::OutOfRange { .. })));
    assert!(matches!(decode.read_kv(id, 2, 0..1, &mut out), Err(EngineError::OutOfRange { .. })));
    let error = decode.import(id, 0, 41..42, &vec![0; bytes]).unwrap_err();
    assert!(matches!(error, EngineError::WrongState { .. }), "{error}");
    let unknown = RoundId(999);
    assert!(matches!(decode.commit_remote(unknown, Instant::now()), Err(EngineError::UnknownRound(_))));
}

#[test]
fn nothing_to_lease() {
    let mut engine = Engine::new(content(16), small_steps());
    let tokens = text(1, 50);
    run(&mut engine, request("a", tokens.clone(), 1));
    let opened = engine.open(request("a", tokens.clone(), 9), Instant::now()).unwrap();
    let error = engine.lease_remote(opened.id, Instant::now()).unwrap_err();
    assert!(matches!(error, EngineError::NothingRemote { .. }), "{error}");
    let scored = RoundRequest { prompt_logprobs: Some(0), ..request("b", tokens, 9) };
    let opened = engine.open(scored, Instant::now()).unwrap();
    let error = engine.lease_remote(opened.id, Instant::now()).unwrap_err();
    assert!(matches!(error, EngineError::NothingRemote { .. }), "{error}");
}

#[test]
fn prefill_uses_what_it_has_and_wants_the_rest() {
    let mut prefill = Engine::new(content(16), small_steps());
    let now = Instant::now();
    let tokens = text(9, 120);
    let bytes = prefill.kv_shape().token_layer_bytes();
    let first = prefill.open_prefill(tokens[..70].to_vec(), SALT, now).unwrap();
    assert_eq!(first.cached, 0);
    prefill.start_prefill(first.id, 0, now).unwrap();
    drain(&mut prefill, &mut Outcomes::default());
    assert_eq!((prefill.ledger().cached, prefill.ledger().free), (2, 14), "whole blocks only");

    let second = prefill.open_prefill(tokens.clone(), SALT, now).unwrap();
    assert_eq!(second.cached, 64);
    let error = prefill.import(second.id, 0, 60..70, &vec![0; 10 * bytes]).unwrap_err();
    assert!(matches!(error, EngineError::OutOfRange { .. }), "shared blocks are not written: {error}");
    let error = prefill.start_prefill(second.id, 60, now).unwrap_err();
    assert!(matches!(error, EngineError::OutOfRange { .. }), "{error}");
    let error = prefill.start_prefill(second.id, 70, now).unwrap_err();
    assert!(matches!(error, EngineError::IncompleteTransfer { layer: 0, written: 0, needed: 6 }), "{error}");
    prefill.import(second.id, 0, 64..70, &vec![0; 6 * bytes]).unwrap();
    check(&prefill);
    assert_eq!((prefill.ledger().active, prefill.ledger().leased), (2, 1));
    prefill.cancel(second.id, now);
    check(&prefill);
    assert_eq!((prefill.ledger().cached, prefill.ledger().free), (2, 14));

    // All of it is here: nothing to compute, and done at once.
    let third = prefill.open_prefill(tokens[..64].to_vec(), SALT, now).unwrap();
    assert_eq!(third.cached, 64);
    prefill.start_prefill(third.id, 64, now).unwrap();
    let (mut hook, mut outcomes) = (Collect::default(), Outcomes::default());
    step(&mut prefill, &mut hook, &mut outcomes);
    assert!(outcomes.get(third.id).prefilled && hook.pieces.is_empty());
    assert!(!prefill.has_work());
}

#[test]
fn hook_sees_each_token_once_even_when_the_prefill_is_preempted() {
    let mut engine =
        Engine::new(content(5), EngineOptions { token_budget: 8, prefill_chunk: 7, ..small_steps() });
    let now = Instant::now();
    let growing = engine.open(request("a", text(1, 20), 100), now).unwrap().id;
    engine.run_local(growing, now).unwrap();
    let tokens = text(2, 120);
    let task = engine.open_prefill(tokens.clone(), SALT, now).unwrap();
    engine.start_prefill(task.id, 0, now).unwrap();
    let (mut hook, mut outcomes) = (Collect::default(), Outcomes::default());
    while engine.has_work() {
        assert!(step(&mut engine, &mut hook, &mut outcomes));
    }
    assert!(outcomes.preempted > 0, "the pool was not too small");
    assert!(outcomes.get(task.id).prefilled);
    assert_covers_once(&hook.pieces, task.id, 2, 0..120);
    assert_eq!(outcomes.get(growing).output(), alone(content, request("a", text(1, 20), 100)).output());

    let again = engine.open_prefill(tokens.clone(), SALT, now).unwrap();
    assert_eq!(again.cached, 96, "what was computed twice is in the cache all the same");

    // And what it saw is right.
    let mut whole = Engine::new(content(16), EngineOptions::default());
    let id = whole.open(request("a", [tokens, vec![5]].concat(), 9), now).unwrap().id;
    whole.run_local(id, now).unwrap();
    step(&mut whole, &mut NoHook, &mut Outcomes::default());
    for piece in &hook.pieces {
        assert_eq!(piece.data, read(&whole, id, piece.layer, piece.tokens.clone()));
    }
}

//! Sessions that go from one engine to another: their next round is the one that they would have had.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::time::{Duration, Instant};

use crate::common::transfer::read;
use crate::common::{Outcome, SALT, backends, check, content, request, run, small_steps, text};
use ampd_engine::core::{Engine, EngineError, MovedSession, RoundId};

/// Copies the KV that `to` lacks of a session that it takes in.
fn copy(from: &Engine, exported: RoundId, to: &mut Engine, taken: RoundId, missing: std::ops::Range<usize>) {
    for layer in 0..from.kv_shape().layers {
        let data = read(from, exported, layer, missing.clone());
        to.write_remote(taken, layer, missing.clone(), &data).unwrap();
    }
}

/// Moves a session; how many of its tokens were copied.
fn move_session(from: &mut Engine, to: &mut Engine, session: &str, epoch: u64) -> usize {
    let now = Instant::now();
    let moved = MovedSession { epoch, ..from.held_session(session, now).unwrap() };
    let exported = from.export_session(session, &moved.salt, moved.tokens.clone(), now).unwrap();
    let (taken, range) = to.take_session(moved, now).unwrap();
    check(to);
    copy(from, exported, to, taken, range.history..range.end);
    to.keep_session(taken, now).unwrap();
    from.cancel(exported, now);
    from.release_session(session, epoch, now);
    check(from);
    check(to);
    range.end - range.history
}

fn next(tokens: &mut Vec<u32>, outcome: &Outcome, seed: u32) {
    tokens.extend(&outcome.tokens);
    tokens.extend(text(seed, 19));
}

#[test]
fn a_moved_session_goes_on_as_if_it_had_stayed() {
    for (name, make) in backends() {
        let engine = || Engine::new(make(64), small_steps());
        let (mut stays, mut first, mut second) = (engine(), engine(), engine());
        let mut tokens = text(1, 75);
        let begun = run(&mut first, request("chat", tokens.clone(), 21));
        assert_eq!(begun, run(&mut stays, request("chat", tokens.clone(), 21)));
        next(&mut tokens, &begun, 2);
        assert_eq!(move_session(&mut first, &mut second, "chat", 2), 95, "{name}");
        assert_eq!(first.idle_sessions(9), []);
        let mut later = request("chat", tokens.clone(), 21);
        later.epoch = 2;
        let expected = run(&mut stays, later.clone());
        let outcome = run(&mut second, later);
        // History and text.
        assert_eq!(outcome, expected, "{name}");
        assert_eq!(outcome.history, 95);

        // And back, where the whole blocks of its beginning still are.
        next(&mut tokens, &outcome, 3);
        let held = tokens.len() - 20;
        assert_eq!(move_session(&mut second, &mut first, "chat", 3), held - 64, "{name}");
        let mut last = request("chat", tokens, 5);
        last.epoch = 3;
        assert_eq!(run(&mut first, last.clone()), run(&mut stays, last), "{name}");
        for engine in [&stays, &first, &second] {
            assert_eq!((engine.ledger().active, engine.ledger().leased), (0, 0));
        }
    }
}

fn moved(session: &str, tokens: usize, idle: Duration) -> MovedSession {
    MovedSession { session: session.to_owned(), epoch: 7, salt: SALT, tokens: text(9, tokens), idle }
}

#[test]
fn a_moved_session_takes_no_place_of_one_that_was_used_later() {
    let mut engine = Engine::new(content(6), small_steps());
    run(&mut engine, request("warm", text(1, 100), 2));
    assert_eq!(engine.ledger().free, 2);
    let now = Instant::now();
    // Two blocks are free: what needs no more has room however long it was idle.
    let (id, range) = engine.take_session(moved("small", 64, Duration::from_mins(9)), now).unwrap();
    assert_eq!((range.history, range.end, engine.ledger().leased), (0, 64, 2));
    engine.cancel(id, now);
    let cold = engine.take_session(moved("cold", 96, Duration::from_mins(9)), now);
    assert!(matches!(cold, Err(EngineError::KvExhausted { needed: 3, free: 2 })), "{cold:?}");
    check(&engine);
    assert_eq!(engine.idle_sessions(9)[0].tokens, 101, "nothing was taken from the other");
    let (id, _) = engine.take_session(moved("hot", 96, Duration::ZERO), Instant::now()).unwrap();
    check(&engine);
    assert!(engine.idle_sessions(9).iter().all(|session| session.name != "warm" || session.tokens == 96));
    engine.cancel(id, now);
    let vast = engine.take_session(moved("vast", 6 * 32 + 1, Duration::ZERO), now);
    assert!(matches!(vast, Err(EngineError::KvExhausted { .. })), "{vast:?}");
}

#[test]
fn what_is_not_all_there_is_not_kept() {
    let mut engine = Engine::new(content(16), small_steps());
    let now = Instant::now();
    let (id, range) = engine.take_session(moved("a", 70, Duration::ZERO), now).unwrap();
    assert!(matches!(engine.keep_session(id, now), Err(EngineError::IncompleteTransfer { .. })));
    // No round comes in between, and none of a round's calls is for it.
    let mut round = request("a", text(9, 80), 3);
    round.epoch = 7;
    let early = engine.open(round.clone(), now);
    assert!(matches!(early, Err(EngineError::SessionBusy { .. })), "{early:?}");
    for wrong in [engine.commit_remote(id, now), engine.abort_remote(id, now), engine.run_local(id, now)] {
        assert!(matches!(wrong, Err(EngineError::WrongState { .. })), "{wrong:?}");
    }
    assert_eq!((range.history, engine.busy_sessions()), (0, 1));
    engine.cancel(id, now);
    assert_eq!((engine.ledger().free, engine.idle_sessions(9).len()), (16, 0));
    assert_eq!(run(&mut engine, round).history, 0);
    let again = engine.take_session(moved("a", 70, Duration::ZERO), now);
    assert!(matches!(again, Err(EngineError::SessionHeld { .. })), "{again:?}");
    let stale = MovedSession { epoch: 6, ..moved("a", 70, Duration::ZERO) };
    assert!(matches!(engine.take_session(stale, now), Err(EngineError::StaleEpoch { current: 7 })));
}

#[test]
fn only_what_a_session_holds_leaves_the_engine() {
    let mut engine = Engine::new(content(32), small_steps());
    for (session, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        run(&mut engine, request(session, text(seed, 50), 3));
    }
    let names: Vec<String> = engine.idle_sessions(2).into_iter().map(|session| session.name).collect();
    assert_eq!(names, ["c", "b"]);
    let now = Instant::now();
    let held = engine.held_session("a", now).unwrap();
    assert_eq!((held.tokens.len(), held.salt, held.epoch), (52, SALT, 1));
    let refused = |engine: &mut Engine, salt, tokens: &[u32]| {
        let exported = engine.export_session("a", &salt, tokens.to_vec(), now);
        assert!(matches!(exported, Err(EngineError::SessionNotHeld { .. })), "{exported:?}");
    };
    refused(&mut engine, [2; 32], &held.tokens);
    refused(&mut engine, SALT, &held.tokens[..51]);
    refused(&mut engine, SALT, &[]);
    refused(&mut engine, SALT, &text(4, 52));
    assert!(matches!(engine.held_session("x", now), Err(EngineError::SessionNotHeld { .. })));

    let exported = engine.export_session("a", &SALT, held.tokens.clone(), now).unwrap();
    let before = read(&engine, exported, 0, 0..52);
    // A round that goes on from there meanwhile writes elsewhere.
    let mut tokens = held.tokens.clone();
    tokens.extend(text(8, 5));
    run(&mut engine, request("a", tokens, 9));
    assert_eq!(read(&engine, exported, 0, 0..52), before);
    engine.cancel(exported, now);
    refused(&mut engine, SALT, &held.tokens);
    // An older binding's release does nothing; a newer one's shuts the older ones out.
    engine.release_session("a", 0, now);
    assert_eq!(engine.idle_sessions(9).len(), 3);
    engine.release_session("a", 5, now);
    assert_eq!(engine.idle_sessions(9).len(), 2);
    let old = engine.open(request("a", text(1, 50), 3), now);
    assert!(matches!(old, Err(EngineError::StaleEpoch { current: 5 })), "{old:?}");
    check(&engine);
}

//! Who runs first and who gets the blocks, where there are not enough for all.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::{Duration, Instant};

use crate::common::{Outcomes, alone, check, content, drain, request, run, small_steps, step, text};
use ampd_engine::core::{Engine, EngineError, EngineOptions, NoHook, RoundId, RoundRequest};

fn open_and_run(engine: &mut Engine, request: RoundRequest) -> RoundId {
    let now = Instant::now();
    let id = engine.open(request, now).unwrap().id;
    engine.run_local(id, now).unwrap();
    id
}

/// Tokens that each queued prompt has in the pool, oldest first.
fn queued(engine: &Engine) -> Vec<usize> {
    engine.load().prefills.iter().map(|part| part.history).collect()
}

#[test]
fn a_large_round_gets_its_turn_in_a_steady_stream_of_small_ones() {
    let mut engine = Engine::new(content(10), small_steps());
    let histories: Vec<Vec<u32>> = (0..3).map(|n| text(n, 40)).collect();
    let name = |n: usize| format!("s{n}");
    for (n, history) in histories.iter().enumerate() {
        run(&mut engine, request(&name(n), history.clone(), 1));
    }
    // It needs six blocks; as long as two of the others run, there are not as many.
    let large = request("large", text(9, 180), 5);
    let mut small = Vec::new();
    let mut waiting = None;
    let mut outcomes = Outcomes::default();
    for turn in 0_u32..400 {
        for (n, history) in histories.iter().enumerate() {
            let prompt = [history.clone(), text(100 + turn, 2)].concat();
            let asked = request(&name(n), prompt, 4 + n);
            match engine.open(asked.clone(), Instant::now()) {
                Ok(opened) => {
                    engine.run_local(opened.id, Instant::now()).unwrap();
                    small.push((opened.id, asked));
                }
                Err(error) => assert!(matches!(error, EngineError::SessionBusy { .. }), "{error}"),
            }
        }
        let id = *waiting.get_or_insert_with(|| open_and_run(&mut engine, large.clone()));
        step(&mut engine, &mut NoHook, &mut outcomes);
        if outcomes.get(id).is_over() {
            break;
        }
    }
    assert!(small.len() > 30, "{} small rounds are no stream", small.len());
    assert_eq!(outcomes.get(waiting.unwrap()).output(), alone(content, large).output());
    drain(&mut engine, &mut outcomes);
    for (id, asked) in small {
        assert_eq!(outcomes.get(id).output(), alone(content, asked).output());
    }
}

#[test]
fn growing_rounds_take_blocks_from_younger_ones_and_not_from_the_head_of_the_queue() {
    let mut engine = Engine::new(content(8), small_steps());
    let history = |n: u32| text(n, if n == 3 { 50 } else { 60 });
    for n in 1..=4 {
        run(&mut engine, request(&n.to_string(), history(n), 1));
    }
    let opened = engine.open(request("4", [history(4), text(40, 3)].concat(), 5), Instant::now()).unwrap().id;
    let asked = [
        request("1", [history(1), text(10, 120)].concat(), 5),
        request("2", [history(2), text(20, 2)].concat(), 20),
        request("3", [history(3), text(30, 2)].concat(), 12),
    ];
    let rounds = asked.clone().map(|asked| open_and_run(&mut engine, asked));
    assert_eq!(engine.ledger().available(), 0);
    let mut outcomes = Outcomes::default();
    while outcomes.preempted == 0 {
        assert!(step(&mut engine, &mut NoHook, &mut outcomes));
    }
    // The second round has run over the end of its last block, and the third is back in the queue.
    assert_eq!(queued(&engine), [60, 0]);
    engine.cancel(opened, Instant::now());
    drain(&mut engine, &mut outcomes);
    for (id, asked) in rounds.into_iter().zip(asked) {
        assert_eq!(outcomes.get(id).output(), alone(content, asked).output());
    }
}

#[test]
fn leases_take_nothing_that_a_running_round_waits_for() {
    let mut engine = Engine::new(content(6), small_steps());
    let now = Instant::now();
    let [first, second] = [("a", 1), ("b", 2)].map(|(name, seed)| {
        run(&mut engine, request(name, text(seed, 60), 1));
        engine.open(request(name, text(seed, 63), 5), now).unwrap().id
    });
    let remote = engine.open(request("c", text(4, 50), 5), now).unwrap().id;
    let asked = request("d", text(5, 60), 40);
    let growing = open_and_run(&mut engine, asked.clone());
    let mut outcomes = Outcomes::default();
    while step(&mut engine, &mut NoHook, &mut outcomes) {}
    assert!((1..40).contains(&outcomes.get(growing).tokens.len()));
    engine.cancel(first, now);
    check(&engine);
    assert!(engine.ledger().available() >= 2);
    let error = engine.lease_remote(remote, now).unwrap_err();
    assert!(matches!(error, EngineError::KvExhausted { needed: 2, free: 0 }), "{error}");
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(growing).output(), alone(content, asked).output());
    engine.lease_remote(remote, now).unwrap();
    engine.cancel(second, now);
    check(&engine);
}

#[test]
fn nobody_waits_for_a_round_that_is_gone() {
    let mut engine = Engine::new(content(4), small_steps());
    let now = Instant::now();
    run(&mut engine, request("a", text(1, 60), 1));
    engine.open(request("a", text(1, 62), 5), now).unwrap();
    let waiting = open_and_run(&mut engine, request("b", text(2, 90), 5));
    assert!(!step(&mut engine, &mut NoHook, &mut Outcomes::default()));
    let remote = engine.open(request("c", text(3, 60), 5), now).unwrap().id;
    assert!(matches!(engine.lease_remote(remote, now), Err(EngineError::KvExhausted { .. })));
    engine.cancel(waiting, now);
    engine.lease_remote(remote, now).unwrap();
}

#[test]
fn scored_prompts_share_the_allowance_of_kept_logits() {
    let mut engine = Engine::new(content(64), EngineOptions::default());
    let asked =
        [1, 2].map(|n| RoundRequest { prompt_logprobs: Some(2), ..request(&n.to_string(), text(n, 150), 5) });
    let rounds = asked.clone().map(|asked| open_and_run(&mut engine, asked));
    let plain = open_and_run(&mut engine, request("plain", text(3, 150), 5));
    let mut outcomes = Outcomes::default();
    let report = engine.step(Instant::now(), &mut NoHook).unwrap();
    assert_eq!(report.prefill_rows, 64 + 150, "all other prompts still have the whole budget");
    outcomes.take(report);
    drain(&mut engine, &mut outcomes);
    for (id, asked) in rounds.into_iter().zip(asked) {
        assert!(outcomes.get(id) == alone(content, asked));
    }
    assert_eq!(outcomes.get(plain).tokens.len(), 5);
}

#[test]
fn waiting_for_cached_blocks_is_no_use_of_them() {
    let mut engine = Engine::new(content(8), small_steps());
    let start = Instant::now();
    let ttl = engine.options().session_ttl;
    run(&mut engine, request("held", text(1, 60), 1));
    let opened = engine.open(request("held", text(1, 62), 5), start).unwrap().id;
    let long = text(2, 200);
    let waiting = engine.open(request("long", long.clone(), 5), start).unwrap().id;
    run(&mut engine, request("other", long[..70].to_vec(), 1));
    engine.drop_session("other");
    assert_eq!(engine.ledger().cached, 2, "what the queued round could use");
    engine.run_local(waiting, start).unwrap();
    let report = engine.step(start + ttl / 2, &mut NoHook).unwrap();
    assert!(report.is_idle());
    engine.cancel(opened, start + ttl / 2);
    engine.expire(start + ttl + Duration::from_secs(1));
    check(&engine);
    assert_eq!(engine.ledger().cached, 2, "what the cancelled round has used since, and no more");
}

//! Rounds in one engine: batching, chunking, sessions, limits, log-probabilities, preemption, cancellation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::time::{Duration, Instant};

use crate::common::{
    EOS, Outcomes, VOCAB, alone, backends, check, content, drain, request, run, small_steps, step, text,
};
use ampd_engine::core::{
    DecodingRound, Engine, EngineError, EngineOptions, FinishReason, LayerHook, NoHook, RoundError, RoundId,
    RoundRequest, Sampling,
};

fn open_and_run(engine: &mut Engine, request: RoundRequest) -> RoundId {
    let now = Instant::now();
    let opened = engine.open(request, now).unwrap();
    check(engine);
    engine.run_local(opened.id, now).unwrap();
    opened.id
}

#[test]
fn batched_is_alone_and_chunked_is_whole() {
    for (name, make) in backends() {
        let requests: Vec<RoundRequest> = (0..7)
            .map(|n| request(&format!("s{n}"), text(n, 5 + 17 * n as usize), 12 + n as usize))
            .collect();
        let expected: Vec<_> = requests.iter().map(|request| alone(make, request.clone())).collect();
        let different: std::collections::BTreeSet<&[u32]> =
            expected.iter().map(|outcome| &outcome.tokens[..12]).collect();
        assert_eq!(
            different.len(),
            7,
            "{name}: outputs must depend on their prompts for this test to mean anything"
        );
        let options = [
            EngineOptions::default(),
            small_steps(),
            EngineOptions { token_budget: 3, prefill_chunk: 2, ..EngineOptions::default() },
        ];
        for options in options {
            let mut engine = Engine::new(make(64), options);
            let mut outcomes = Outcomes::default();
            // Every second one joins while the others run.
            let first: Vec<RoundId> = requests
                .iter()
                .step_by(2)
                .map(|request| open_and_run(&mut engine, request.clone()))
                .collect();
            for _ in 0..4 {
                step(&mut engine, &mut NoHook, &mut outcomes);
            }
            let second: Vec<RoundId> = requests
                .iter()
                .skip(1)
                .step_by(2)
                .map(|request| open_and_run(&mut engine, request.clone()))
                .collect();
            drain(&mut engine, &mut outcomes);
            for (index, expected) in expected.iter().enumerate() {
                let id = if index % 2 == 0 { first[index / 2] } else { second[index / 2] };
                assert_eq!(outcomes.get(id).output(), expected.output(), "{name}, round {index}");
                assert_eq!(expected.tokens.len(), 12 + index);
            }
        }
    }
}

#[test]
fn session_keeps_its_history_by_the_token() {
    for (name, make) in backends() {
        let mut engine = Engine::new(make(64), small_steps());
        let mut tokens = text(1, 45);
        let mut expected_history = 0;
        for round in 0..4 {
            let request = request("chat", tokens.clone(), 9);
            let outcome = run(&mut engine, request.clone());
            assert_eq!(outcome.history, expected_history, "{name}, round {round}");
            assert_eq!(outcome.output(), alone(make, request).output(), "{name}, round {round}");
            // All that was computed stays: everything but the last output token.
            expected_history = tokens.len() + outcome.tokens.len() - 1;
            tokens.extend(&outcome.tokens);
            tokens.extend(text(100 + round, 13));
        }
        assert_eq!(engine.ledger().active + engine.ledger().leased, 0);

        // A changed history: the common start is used, at token precision, without harm to what others share.
        let mut changed = tokens[..70].to_vec();
        changed.extend(text(999, 30));
        let changed_request = request("chat", changed.clone(), 9);
        let opened = engine.open(changed_request.clone(), Instant::now()).unwrap();
        assert_eq!((opened.history, opened.increment), (70, 30), "{name}");
        engine.cancel(opened.id, Instant::now());
        check(&engine);
        assert_eq!(run(&mut engine, changed_request.clone()).output(), alone(make, changed_request).output());
        let other = request("other", tokens.clone(), 9);
        let outcome = run(&mut engine, other.clone());
        assert!(outcome.history >= 96 && outcome.history.is_multiple_of(32), "{name}: {}", outcome.history);
        assert_eq!(outcome.output(), alone(make, other).output(), "{name}");
    }
}

#[test]
fn prefix_is_shared_across_sessions_but_not_across_tenants() {
    let mut engine = Engine::new(content(64), small_steps());
    let prompt = text(5, 100);
    run(&mut engine, request("a", prompt.clone(), 3));
    assert_eq!(run(&mut engine, request("b", prompt.clone(), 3)).history, 96);
    let tenant = RoundRequest { salt: [9; 32], ..request("c", prompt.clone(), 3) };
    assert_eq!(run(&mut engine, tenant).history, 0);
    // The session's own KV is bound to its salt too.
    let tenant = RoundRequest { salt: [9; 32], ..request("a", prompt, 3) };
    assert_eq!(run(&mut engine, tenant).history, 96, "from tenant c, not from the session");
}

#[test]
fn prefix_is_shared_while_its_first_round_still_runs() {
    let mut engine = Engine::new(content(64), small_steps());
    let prompt = text(5, 100);
    let first = open_and_run(&mut engine, request("a", prompt.clone(), 30));
    let mut outcomes = Outcomes::default();
    while outcomes.get(first).tokens.is_empty() {
        step(&mut engine, &mut NoHook, &mut outcomes);
    }
    let second = engine.open(request("b", prompt.clone(), 30), Instant::now()).unwrap();
    assert_eq!(second.history, 96);
    engine.run_local(second.id, Instant::now()).unwrap();
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(second.id).output(), outcomes.get(first).output());
}

#[test]
fn last_prompt_token_is_always_computed() {
    let mut engine = Engine::new(content(64), small_steps());
    let prompt = text(5, 64);
    let first = run(&mut engine, request("a", prompt.clone(), 4));
    let opened = engine.open(request("a", prompt.clone(), 4), Instant::now()).unwrap();
    assert_eq!((opened.history, opened.increment), (63, 1));
    engine.run_local(opened.id, Instant::now()).unwrap();
    let mut outcomes = Outcomes::default();
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(opened.id).output(), first.output());
    let opened = engine.open(request("b", prompt, 4), Instant::now()).unwrap();
    assert_eq!((opened.history, opened.increment), (32, 32));
}

#[test]
fn preempted_rounds_go_on_as_if_nothing_had_happened() {
    for (name, make) in backends() {
        let requests: Vec<RoundRequest> =
            (0..6).map(|n| request(&format!("s{n}"), text(n, 30 + 9 * n as usize), 60)).collect();
        // The longest needs 5 blocks: alone it fits, all together they do not.
        let mut engine = Engine::new(make(7), small_steps());
        let ids: Vec<RoundId> =
            requests.iter().map(|request| open_and_run(&mut engine, request.clone())).collect();
        let mut outcomes = Outcomes::default();
        drain(&mut engine, &mut outcomes);
        assert!(outcomes.preempted > 0, "{name}: the pool was not too small");
        for (id, request) in ids.into_iter().zip(requests) {
            assert_eq!(outcomes.get(id).output(), alone(make, request).output(), "{name}");
        }
    }
}

#[test]
fn round_that_cannot_fit_alone_fails() {
    let mut engine = Engine::new(content(3), small_steps());
    let error = engine.open(request("a", text(1, 97), 1), Instant::now()).unwrap_err();
    assert!(matches!(error, EngineError::KvExhausted { needed: 4, free: 3 }), "{error}");
    let outcome = run(&mut engine, request("a", text(1, 60), 100));
    assert_eq!(outcome.error, Some(RoundError::KvExhausted { needed: 4, total: 3 }));
    assert_eq!(outcome.tokens.len(), 97 - 60);
    assert_eq!(
        run(&mut engine, request("b", text(2, 60), 20)).finish,
        Some(FinishReason::Length),
        "the next one fits"
    );
}

#[test]
fn rounds_wait_for_blocks_of_opened_ones_and_then_go_on() {
    let mut engine = Engine::new(content(4), small_steps());
    run(&mut engine, request("a", text(1, 60), 3));
    let start = Instant::now();
    let opened = engine.open(request("a", text(1, 90), 3), start).unwrap();
    assert_eq!(engine.ledger().active, 2);
    let waiting = open_and_run(&mut engine, request("b", text(2, 90), 3));
    let mut outcomes = Outcomes::default();
    assert!(!step(&mut engine, &mut NoHook, &mut outcomes), "three blocks are needed, two can be had");
    // The opened round could have a block, but would take it from the queued one.
    assert!(matches!(engine.lease_remote(opened.id, start), Err(EngineError::KvExhausted { .. })));
    engine.expire(start + Duration::from_secs(11));
    check(&engine);
    assert!(matches!(engine.run_local(opened.id, start), Err(EngineError::UnknownRound(_))));
    drain(&mut engine, &mut outcomes);
    assert_eq!(outcomes.get(waiting).finish, Some(FinishReason::Length));
}

#[test]
fn prompt_logprobs_are_complete_however_the_prompt_is_cut() {
    for (name, make) in backends() {
        let prompt = text(3, 150);
        let asked = RoundRequest { prompt_logprobs: Some(3), ..request("a", prompt.clone(), 5) };
        let expected = alone(make, asked.clone());
        let tokens = expected.prompt_logprobs.clone().unwrap();
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), prompt[1..]);
        assert!(tokens.iter().all(|token| token.top.len() == 3 && token.logprob <= token.top[0].1));
        assert_eq!(expected.output(), alone(make, request("a", prompt.clone(), 5)).output(), "{name}");

        let mut engine = Engine::new(make(64), small_steps());
        run(&mut engine, request("a", prompt.clone(), 5));
        let outcome = run(&mut engine, asked.clone());
        assert_eq!(outcome.history, 0, "{name}: all logits are needed");
        assert_eq!(outcome, expected, "{name}");

        // Scored only, no output.
        let scored = run(&mut engine, RoundRequest { max_tokens: 0, ..asked });
        assert_eq!(scored.prompt_logprobs, expected.prompt_logprobs, "{name}");
        assert_eq!((scored.tokens.len(), scored.finish), (0, Some(FinishReason::Length)));
    }
}

#[test]
fn prompt_logprobs_survive_preemption() {
    let mut engine =
        Engine::new(content(5), EngineOptions { token_budget: 8, prefill_chunk: 7, ..small_steps() });
    let growing = open_and_run(&mut engine, request("a", text(1, 20), 100));
    let asked = RoundRequest { prompt_logprobs: Some(2), ..request("b", text(2, 120), 5) };
    let scored = open_and_run(&mut engine, asked.clone());
    let mut outcomes = Outcomes::default();
    drain(&mut engine, &mut outcomes);
    assert!(outcomes.preempted > 0 && outcomes.get(growing).tokens.len() == 100);
    assert!(outcomes.get(scored) == alone(content, asked), "log-probabilities are neither lost nor doubled");
}

#[test]
fn queued_rounds_do_not_block_each_other_with_their_history() {
    let mut engine = Engine::new(content(8), small_steps());
    for (name, seed) in [("a", 1), ("b", 2)] {
        run(&mut engine, request(name, text(seed, 125), 3));
    }
    assert_eq!(engine.ledger().cached, 8);
    let mut next = |name: &str, seed: u32| {
        let tokens = [text(seed, 125), text(seed + 10, 30)].concat();
        let opened = engine.open(request(name, tokens.clone(), 3), Instant::now()).unwrap();
        assert_eq!(opened.history, 125);
        (opened.id, request(name, tokens, 3))
    };
    let rounds = [next("a", 1), next("b", 2)];
    assert_eq!(engine.ledger().available(), 0);
    for (id, _) in &rounds {
        engine.run_local(*id, Instant::now()).unwrap();
    }
    let mut outcomes = Outcomes::default();
    drain(&mut engine, &mut outcomes);
    for (id, request) in rounds {
        assert_eq!(outcomes.get(id).output(), alone(content, request).output());
    }
}

#[test]
fn output_ends_where_it_should() {
    let prompt = text(8, 40);
    let free = alone(content, request("a", prompt.clone(), 300));
    assert_eq!((free.tokens.len(), free.finish), (300, Some(FinishReason::Length)));

    let end = free.tokens.iter().position(|&token| token == EOS).expect("300 tokens of 64 contain it");
    let outcome = alone(content, RoundRequest { ignore_eos: false, ..request("a", prompt.clone(), 300) });
    assert_eq!(outcome.tokens, free.tokens[..=end]);
    assert_eq!(outcome.finish, Some(FinishReason::Stop));

    let stop = free.tokens[9];
    let place = free.tokens.iter().position(|&token| token == stop).unwrap();
    let outcome =
        alone(content, RoundRequest { stop_tokens: vec![stop], ..request("a", prompt.clone(), 300) });
    assert_eq!(outcome.tokens, free.tokens[..=place], "stop tokens count even when the model's own do not");
    assert_eq!(outcome.finish, Some(FinishReason::Stop));

    let full = alone(content, request("a", prompt, 512 - 40));
    assert_eq!((full.tokens.len(), full.finish), (512 - 40, Some(FinishReason::Length)));
}

#[test]
fn cancelled_rounds_leave_nothing_behind() {
    let mut engine = Engine::new(content(32), small_steps());
    let now = Instant::now();
    let opened = engine.open(request("a", text(1, 60), 30), now).unwrap().id;
    engine.cancel(opened, now);
    check(&engine);
    assert_eq!(engine.ledger().free, 32);

    let waiting = open_and_run(&mut engine, request("a", text(1, 60), 30));
    engine.cancel(waiting, now);
    check(&engine);
    assert!(!engine.has_work());

    let prefilling = open_and_run(&mut engine, request("a", text(1, 60), 30));
    let mut outcomes = Outcomes::default();
    step(&mut engine, &mut NoHook, &mut outcomes);
    engine.cancel(prefilling, now);
    check(&engine);
    assert_eq!(engine.ledger().active, 0);
    assert_eq!(engine.ledger().cached, 1, "the 20 tokens computed so far stay with the session");
    assert_eq!(engine.open(request("a", text(1, 60), 30), now).unwrap().history, 20);
    engine.drop_session("a");

    let decoding = open_and_run(&mut engine, request("b", text(2, 60), 30));
    while outcomes.get(decoding).tokens.len() < 10 {
        step(&mut engine, &mut NoHook, &mut outcomes);
    }
    engine.cancel(decoding, now);
    engine.cancel(decoding, now);
    check(&engine);
    assert!(!engine.has_work());
    engine.expire(now + Duration::from_hours(1));
    check(&engine);
    assert_eq!(engine.ledger().free, 32);
    assert_eq!(engine.load().sessions, 0);
}

#[test]
fn epochs_and_busy_sessions() {
    let mut engine = Engine::new(content(32), small_steps());
    let now = Instant::now();
    engine.bind("a", 3, now).unwrap();
    assert!(matches!(engine.bind("a", 2, now), Err(EngineError::StaleEpoch { current: 3 })));
    let old = RoundRequest { epoch: 2, ..request("a", text(1, 10), 3) };
    assert!(matches!(engine.open(old, now), Err(EngineError::StaleEpoch { current: 3 })));
    let new = RoundRequest { epoch: 4, ..request("a", text(1, 10), 3) };
    let opened = engine.open(new.clone(), now).unwrap();
    assert!(matches!(engine.open(new, now), Err(EngineError::SessionBusy { .. })));
    assert!(matches!(engine.bind("a", 3, now), Err(EngineError::StaleEpoch { current: 4 })));
    engine.bind("a", 5, now).unwrap();
    engine.run_local(opened.id, now).unwrap();
    assert!(matches!(engine.run_local(opened.id, now), Err(EngineError::WrongState { .. })));
}

#[test]
fn sessions_and_rounds_are_bounded() {
    let options = EngineOptions { max_sessions: 2, max_open: 2, ..small_steps() };
    let mut engine = Engine::new(content(32), options);
    let now = Instant::now();
    run(&mut engine, request("a", text(1, 40), 3));
    run(&mut engine, request("b", text(2, 40), 3));
    run(&mut engine, request("c", text(3, 40), 3));
    assert_eq!(engine.load().sessions, 2, "the least recently used one was forgotten");
    engine.open(request("c", text(3, 40), 3), now).unwrap();
    engine.open(request("d", text(3, 40), 3), now).unwrap();
    let error = engine.open(request("e", text(3, 40), 3), now).unwrap_err();
    assert!(matches!(error, EngineError::TooManyRounds { limit: 2 }), "{error}");
    assert!(matches!(engine.bind("e", 1, now), Err(EngineError::TooManySessions { limit: 2 })));
    check(&engine);
}

#[test]
fn bad_requests_are_refused_by_name_and_change_nothing() {
    let mut engine = Engine::new(content(64), small_steps());
    let good = request("a", text(1, 40), 3);
    let cases: Vec<(&str, RoundRequest)> = vec![
        ("session", RoundRequest { session: "s".repeat(513), ..good.clone() }),
        ("tokens", RoundRequest { tokens: Vec::new(), ..good.clone() }),
        ("vocabulary", RoundRequest { tokens: vec![5, VOCAB], ..good.clone() }),
        ("context", RoundRequest { tokens: text(1, 500), max_tokens: 13, ..good.clone() }),
        ("context", RoundRequest { max_tokens: usize::MAX, ..good.clone() }),
        ("logprobs", RoundRequest { logprobs: Some(65), ..good.clone() }),
        ("prompt_logprobs", RoundRequest { prompt_logprobs: Some(u32::MAX), ..good.clone() }),
        ("stop_tokens", RoundRequest { stop_tokens: vec![1; 257], ..good.clone() }),
        (
            "temperature",
            RoundRequest {
                sampling: Sampling { temperature: f32::NAN, ..Sampling::default() },
                ..good.clone()
            },
        ),
    ];
    for (word, request) in cases {
        let error = engine.open(request, Instant::now()).unwrap_err();
        assert!(error.to_string().contains(word), "{error} does not name {word}");
    }
    assert_eq!(engine.load().sessions, 0);
    assert_eq!(engine.ledger().free, 64);
    assert!(engine.open(good, Instant::now()).is_ok());
}

#[test]
fn expiry_counts_from_the_last_use() {
    let mut engine = Engine::new(content(32), small_steps());
    let ttl = engine.options().session_ttl;
    let start = Instant::now();
    for (name, seed) in [("a", 1), ("b", 2)] {
        run(&mut engine, request(name, text(seed, 70), 3));
    }
    engine.bind("b", 1, start + ttl).unwrap();
    engine.expire(start + ttl + Duration::from_secs(30));
    check(&engine);
    assert_eq!(engine.load().sessions, 1);
    assert_eq!(engine.open(request("b", text(2, 71), 3), start + ttl).unwrap().history, 70);
    assert_eq!(
        engine.open(request("a", text(1, 71), 3), start + ttl).unwrap().history,
        0,
        "its blocks are gone too"
    );
}

#[test]
fn load_tells_what_waits() {
    let mut engine = Engine::new(content(64), EngineOptions { max_running: 2, ..small_steps() });
    let decoding = open_and_run(&mut engine, request("a", text(1, 30), 40));
    let mut outcomes = Outcomes::default();
    while outcomes.get(decoding).tokens.len() < 3 {
        step(&mut engine, &mut NoHook, &mut outcomes);
    }
    open_and_run(&mut engine, request("b", text(2, 100), 5));
    open_and_run(&mut engine, request("c", text(3, 50), 5));
    step(&mut engine, &mut NoHook, &mut outcomes);
    let load = engine.load();
    assert_eq!((load.running_decodes, load.waiting_prefills, load.waiting_prefill_tokens), (1, 2, 80 + 50));
    let parts: Vec<_> = load.prefills.iter().map(|part| (part.history, part.increment)).collect();
    assert_eq!(parts, [(20, 80), (0, 50)]);
    assert_eq!(load.decoding, [DecodingRound { round: decoding, tokens: 4, left: 36 }]);
    assert!((load.mean_context - 34.0).abs() < 1e-9);
    assert_eq!(load.ledger, engine.ledger());
}

#[test]
fn decode_rows_go_before_prompts() {
    let mut engine = Engine::new(content(64), EngineOptions { token_budget: 21, ..small_steps() });
    let decoding = open_and_run(&mut engine, request("a", text(1, 10), 40));
    let mut outcomes = Outcomes::default();
    step(&mut engine, &mut NoHook, &mut outcomes);
    open_and_run(&mut engine, request("b", text(2, 200), 5));
    for tokens in 2..8 {
        let report = engine.step(Instant::now(), &mut NoHook as &mut dyn LayerHook).unwrap();
        assert_eq!((report.decode_rows, report.prefill_rows), (1, 20));
        assert!((report.mean_decode_context - (8.0 + tokens as f64 + 1.0)).abs() < 1e-9);
        outcomes.take(report);
        assert_eq!(outcomes.get(decoding).tokens.len(), tokens, "the long prompt does not hold it up");
    }
}

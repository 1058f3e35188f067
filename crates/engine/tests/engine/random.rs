//! Random histories of an engine with a small pool: whatever is opened, leased, half-written, cancelled, preempted or
//! moved away or expired in whatever order, the ledger holds after every operation, no queued round is stuck, and every round that
//! ends has the very output that it has alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::common::transfer::{Collect, assert_covers_once, read};
use crate::common::{Outcomes, SALT, alone, check, content, request, small_steps, text};
use ampd_engine::backend::BLOCK_TOKENS;
use ampd_engine::core::{Engine, EngineError, EngineOptions, MovedSession, NoHook, RoundId, RoundRequest};
use proptest::prelude::*;

const BLOCKS: usize = 8;

#[derive(Debug, Clone)]
enum Operation {
    /// Opens a round: the first `keep` tokens of the last sequence of session `like`, then `new` others.
    Open {
        session: u8,
        like: u8,
        keep: usize,
        new: usize,
        output: usize,
        scored: bool,
    },
    RunLocal(usize),
    Lease(usize),
    /// Writes a share of the leased tokens of a layer.
    Write {
        round: usize,
        layer: usize,
        from: usize,
        length: usize,
    },
    /// Writes all that is missing, and commits.
    Commit(usize),
    Abort(usize),
    Cancel(usize),
    /// Opens a prefill of such a sequence.
    OpenPrefill {
        like: u8,
        keep: usize,
        new: usize,
    },
    Import {
        round: usize,
        layer: usize,
        from: usize,
        length: usize,
    },
    /// Imports up to `from` and starts.
    Start {
        round: usize,
        from: usize,
    },
    /// Takes in a session with such a sequence from elsewhere.
    Take {
        session: u8,
        like: u8,
        keep: usize,
        new: usize,
        idle: u64,
    },
    /// Writes all that is missing of a session that is taken in, and keeps it.
    Keep(usize),
    /// Pins what an idle session holds, for another engine.
    Export {
        session: u8,
    },
    /// Lets an idle session go.
    Release {
        session: u8,
    },
    /// Wants the prompts of these rounds computed first.
    Prefer(Vec<usize>),
    Steps(usize),
    Pass {
        seconds: u64,
    },
    Drop {
        session: u8,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let which = 0_usize..8;
    // Mostly a conversation goes on where it ended.
    let keep = prop_oneof![3 => Just(usize::MAX), 2 => 0_usize..160];
    let (session, new) = (0_u8..4, 1_usize..70);
    let part = (which.clone(), 0_usize..2, 0_usize..150, 0_usize..80);
    prop_oneof![
        4 => (session.clone(), session.clone(), keep.clone(), new.clone(), 0_usize..90, prop::bool::weighted(0.1))
            .prop_map(|(session, like, keep, new, output, scored)| Operation::Open { session, like, keep, new, output, scored }),
        4 => which.clone().prop_map(Operation::RunLocal),
        3 => which.clone().prop_map(Operation::Lease),
        3 => part.clone().prop_map(|(round, layer, from, length)| Operation::Write { round, layer, from, length }),
        3 => which.clone().prop_map(Operation::Commit),
        1 => which.clone().prop_map(Operation::Abort),
        1 => which.clone().prop_map(Operation::Cancel),
        2 => (session.clone(), session.clone(), keep.clone(), new.clone(), 0_u64..40)
            .prop_map(|(session, like, keep, new, idle)| Operation::Take { session, like, keep, new, idle }),
        2 => which.clone().prop_map(Operation::Keep),
        1 => session.clone().prop_map(|session| Operation::Export { session }),
        1 => session.clone().prop_map(|session| Operation::Release { session }),
        2 => (session.clone(), keep, new).prop_map(|(like, keep, new)| Operation::OpenPrefill { like, keep, new }),
        2 => part.prop_map(|(round, layer, from, length)| Operation::Import { round, layer, from, length }),
        3 => (which.clone(), 0_usize..150).prop_map(|(round, from)| Operation::Start { round, from }),
        1 => prop::collection::vec(which, 0..8).prop_map(Operation::Prefer),
        9 => (1_usize..40).prop_map(Operation::Steps),
        1 => prop_oneof![1_u64..30, 300_u64..400].prop_map(|seconds| Operation::Pass { seconds }),
        1 => session.prop_map(|session| Operation::Drop { session }),
    ]
}

/// An engine that holds the KV of a sequence, to read any range from.
struct Source {
    engine: Box<Engine>,
    id: RoundId,
}

impl Source {
    fn new(tokens: &[u32]) -> Self {
        let mut engine = Engine::new(
            content(16),
            EngineOptions { token_budget: 512, prefill_chunk: 512, ..small_steps() },
        );
        let id = engine.open(request("source", tokens.to_vec(), 9), Instant::now()).unwrap().id;
        engine.run_local(id, Instant::now()).unwrap();
        engine.step(Instant::now(), &mut NoHook).unwrap();
        Self { engine: Box::new(engine), id }
    }

    fn read(&self, layer: usize, tokens: Range<usize>) -> Vec<u8> {
        read(&self.engine, self.id, layer, tokens)
    }
}

enum Live {
    Serve {
        request: Box<RoundRequest>,
        lease: Option<(Range<usize>, Source)>,
    },
    /// `started` is the first token that the hook shall see.
    Prefill {
        source: Source,
        cached: usize,
        length: usize,
        started: usize,
    },
    Take {
        range: Range<usize>,
        source: Source,
    },
    Export {
        length: usize,
        source: Source,
    },
}

struct World {
    engine: Engine,
    now: Instant,
    live: Vec<(RoundId, Live)>,
    /// The last sequence of each session, as its client would send it again.
    last: BTreeMap<u8, Vec<u32>>,
    opened: u32,
    outcomes: Outcomes,
    shown: Collect,
}

impl World {
    fn tokens(&mut self, like: u8, keep: usize, new: usize) -> Vec<u32> {
        self.opened += 1;
        let last = self.last.entry(like).or_default();
        let mut tokens = last[..keep.min(last.len())].to_vec();
        tokens.extend(text(self.opened, new));
        tokens
    }

    fn apply(&mut self, operation: &Operation) {
        let now = self.now;
        match *operation {
            Operation::Open { session, like, keep, new, output, scored } => {
                // Alone, every round fits the pool.
                let keep = keep.min(BLOCKS * BLOCK_TOKENS - new - output);
                let tokens = self.tokens(like, keep, new);
                let mut request = request(&session.to_string(), tokens, output);
                request.prompt_logprobs = scored.then_some(1);
                match self.engine.open(request.clone(), now) {
                    Ok(opened) => {
                        assert_eq!(opened.history + opened.increment, request.tokens.len());
                        self.live.push((opened.id, Live::Serve { request: Box::new(request), lease: None }));
                    }
                    Err(EngineError::SessionBusy { .. } | EngineError::KvExhausted { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::RunLocal(round) => self.with(round, |engine, id, _| engine.run_local(id, now)),
            Operation::Lease(round) => self.with(round, |engine, id, live| {
                let range = engine.lease_remote(id, now)?;
                if let Live::Serve { request, lease } = live {
                    *lease = Some((range.history..range.end, Source::new(&request.tokens)));
                }
                Ok(())
            }),
            Operation::Write { round, layer, from, length } => self.with(round, |engine, id, live| {
                let Live::Serve { lease: Some((range, source)), .. } = live else { return Ok(()) };
                let start = (range.start + from).min(range.end);
                let tokens = start..(start + length).min(range.end);
                engine.write_remote(id, layer, tokens.clone(), &source.read(layer, tokens))
            }),
            Operation::Commit(round) => self.with(round, |engine, id, live| {
                let Live::Serve { lease: Some((range, source)), .. } = live else { return Ok(()) };
                for layer in 0..2 {
                    engine.write_remote(id, layer, range.clone(), &source.read(layer, range.clone()))?;
                }
                engine.commit_remote(id, now)
            }),
            Operation::Abort(round) => self.with(round, |engine, id, _| engine.abort_remote(id, now)),
            Operation::Cancel(round) => {
                if round < self.live.len() {
                    let (id, live) = self.live.remove(round);
                    self.check_export(id, &live);
                    self.engine.cancel(id, now);
                }
            }
            Operation::Take { .. }
            | Operation::Keep(_)
            | Operation::Export { .. }
            | Operation::Release { .. } => self.apply_move(operation),
            Operation::OpenPrefill { like, keep, new } => {
                let tokens = self.tokens(like, keep, new);
                if let Ok(opened) = self.engine.open_prefill(tokens.clone(), SALT, now) {
                    let (source, length) = (Source::new(&tokens), tokens.len());
                    self.live.push((
                        opened.id,
                        Live::Prefill { source, cached: opened.cached, length, started: 0 },
                    ));
                }
            }
            Operation::Import { round, layer, from, length } => self.with(round, |engine, id, live| {
                let Live::Prefill { source, cached, length: end, .. } = live else { return Ok(()) };
                let start = (*cached + from).min(*end);
                let tokens = start..(start + length).min(*end);
                engine.import(id, layer, tokens.clone(), &source.read(layer, tokens))
            }),
            Operation::Start { round, from } => self.with(round, |engine, id, live| {
                let Live::Prefill { source, cached, length, started } = live else { return Ok(()) };
                let from = (*cached + from).min(*length);
                for layer in 0..2 {
                    engine.import(id, layer, *cached..from, &source.read(layer, *cached..from))?;
                }
                engine.start_prefill(id, from, now)?;
                *started = from;
                Ok(())
            }),
            Operation::Prefer(ref rounds) => {
                let named = rounds.iter().filter_map(|&round| self.live.get(round).map(|(id, _)| *id));
                self.engine.prefer(&named.collect::<Vec<_>>());
            }
            Operation::Steps(count) => {
                for _ in 0..count {
                    self.step();
                    check(&self.engine);
                }
            }
            Operation::Pass { seconds } => {
                self.now += Duration::from_secs(seconds);
                self.engine.expire(self.now);
            }
            Operation::Drop { session } => self.engine.drop_session(&session.to_string()),
        }
        check(&self.engine);
    }

    /// What leaves is what the session holds.
    fn check_export(&self, id: RoundId, live: &Live) {
        if let Live::Export { length, source } = live {
            for layer in 0..2 {
                let held = read(&self.engine, id, layer, 0..*length);
                assert!(held == source.read(layer, 0..*length), "wrong KV leaves");
            }
        }
    }

    fn apply_move(&mut self, operation: &Operation) {
        let now = self.now;
        match *operation {
            Operation::Take { session, like, keep, new, idle } => {
                let tokens = self.tokens(like, keep.min(BLOCKS * BLOCK_TOKENS - new), new);
                let idle = Duration::from_secs(idle);
                let name = session.to_string();
                let moved =
                    MovedSession { session: name, epoch: 1, salt: SALT, tokens: tokens.clone(), idle };
                match self.engine.take_session(moved, now) {
                    Ok((id, range)) => {
                        let source = Source::new(&tokens);
                        self.live.push((id, Live::Take { range: range.history..range.end, source }));
                        self.last.insert(session, tokens);
                    }
                    Err(
                        EngineError::SessionBusy { .. }
                        | EngineError::SessionHeld { .. }
                        | EngineError::KvExhausted { .. },
                    ) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::Keep(round) => self.with(round, |engine, id, live| {
                let Live::Take { range, source } = live else { return Ok(()) };
                for layer in 0..2 {
                    engine.write_remote(id, layer, range.clone(), &source.read(layer, range.clone()))?;
                }
                engine.keep_session(id, now)
            }),
            Operation::Export { session } => {
                let name = session.to_string();
                if let Ok(held) = self.engine.held_session(&name, now) {
                    let exported = self.engine.export_session(&name, &held.salt, held.tokens.clone(), now);
                    let (source, length) = (Source::new(&held.tokens), held.tokens.len());
                    self.live.push((exported.unwrap(), Live::Export { length, source }));
                }
            }
            Operation::Release { session } => self.engine.release_session(&session.to_string(), 1, now),
            _ => {}
        }
    }

    /// Runs a call on a live round; refusals that its state or the pool's size explain are part of the game.
    fn with(
        &mut self,
        round: usize,
        call: impl FnOnce(&mut Engine, RoundId, &mut Live) -> Result<(), EngineError>,
    ) {
        let count = self.live.len().max(1);
        let Some((id, live)) = self.live.get_mut(round % count) else { return };
        match call(&mut self.engine, *id, live) {
            Ok(())
            | Err(
                EngineError::WrongState { .. }
                | EngineError::KvExhausted { .. }
                | EngineError::NothingRemote { .. }
                | EngineError::UnknownRound(_),
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self) {
        let report = self.engine.step(self.now, &mut self.shown).unwrap();
        self.outcomes.take(report);
        let outcomes = &self.outcomes;
        let over = self.live.extract_if(.., |(id, _)| outcomes.get(*id).is_over());
        for (id, live) in over {
            let outcome = outcomes.get(id);
            assert_eq!(outcome.error, None, "every round here fits the pool alone");
            let request = match live {
                Live::Serve { request, .. } => *request,
                Live::Prefill { source, started, length, .. } => {
                    assert_covers_once(&self.shown.pieces, id, 2, started..length);
                    for piece in self.shown.pieces.iter().filter(|piece| piece.round == id) {
                        assert!(
                            piece.data == source.read(piece.layer, piece.tokens.clone()),
                            "wrong KV was shown"
                        );
                    }
                    continue;
                }
                Live::Take { .. } | Live::Export { .. } => panic!("it has no end of its own"),
            };
            let expected = alone(content, request.clone());
            assert_eq!(outcome.output(), expected.output());
            assert_eq!(outcome.prompt_logprobs, expected.prompt_logprobs);
            let session = request.session.parse().unwrap();
            self.last.insert(session, request.tokens.into_iter().chain(outcome.tokens).collect());
        }
    }

    /// Ends what waits for its caller; everything else must come to its end by itself.
    fn settle(&mut self) {
        let moves = |(_, live): &(RoundId, Live)| matches!(live, Live::Take { .. } | Live::Export { .. });
        while let Some(round) = self.live.iter().position(moves) {
            self.apply(&Operation::Cancel(round));
        }
        let waits = [Operation::RunLocal as fn(usize) -> Operation, Operation::Abort];
        for round in 0..self.live.len() {
            for operation in waits {
                self.apply(&operation(round));
            }
            self.apply(&Operation::Start { round, from: 0 });
        }
        let mut idle = 0;
        while self.engine.has_work() {
            let before = (self.outcomes.rounds.clone(), self.engine.load());
            self.apply(&Operation::Steps(1));
            let moved = before != (self.outcomes.rounds.clone(), self.engine.load());
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 3, "stuck: {:?}", self.engine.load());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_history_keeps_the_books_and_the_text(operations in prop::collection::vec(operation(), 1..200)) {
        let engine = Engine::new(content(BLOCKS), small_steps());
        let mut world = World {
            engine,
            now: Instant::now(),
            live: Vec::new(),
            last: BTreeMap::new(),
            opened: 0,
            outcomes: Outcomes::default(),
            shown: Collect::default(),
        };
        for operation in &operations {
            world.apply(operation);
        }
        world.settle();
        let unknown = world.live.iter().all(|(id, _)| world.engine.read_kv(*id, 0, 0..0, &mut Vec::new()).is_err());
        prop_assert!(unknown, "all that is left has expired before");
        prop_assert_eq!(world.engine.ledger().active + world.engine.ledger().leased, 0);
        world.apply(&Operation::Pass { seconds: 3600 });
        prop_assert_eq!(world.engine.ledger().free, BLOCKS);
        prop_assert_eq!(world.engine.load().sessions, 0);
    }
}

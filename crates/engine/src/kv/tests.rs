//! The KV books against a model that keeps the pool's content: whatever the order of rounds, cancellations, evictions
//! and expiries, the ledger holds, and a prefix that is handed out holds the tokens that it is said to hold.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{ChainHash, Exclusive, Holder, KvManager, Sequence};
use crate::backend::BLOCK_TOKENS;

const BLOCKS: usize = 10;
const SESSIONS: u8 = 4;
const TTL: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
enum Operation {
    /// Opens a round whose prompt repeats the first `keep` tokens of a fixed text and adds `new` tokens that differ by
    /// `branch`.
    Begin { session: u8, salt: u8, keep: usize, new: usize, branch: u32 },
    /// Makes room for tokens of a round and computes them.
    Append { round: usize, tokens: usize },
    /// The same with the blocks leased first, and given up half-written when `commit` is false.
    Lease { round: usize, tokens: usize, commit: bool },
    /// Ends a round; its session keeps what was computed.
    End { round: usize },
    /// Takes all blocks from a round.
    Preempt { round: usize },
    /// Forgets a session.
    Drop { session: u8 },
    /// Lets time pass.
    Pass { seconds: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let tokens = 1_usize..90;
    let round = 0_usize..6;
    prop_oneof![
        4 => (0..SESSIONS, 0_u8..2, 0_usize..130, 1_usize..40, 0_u32..3)
            .prop_map(|(session, salt, keep, new, branch)| Operation::Begin { session, salt, keep, new, branch }),
        4 => (round.clone(), tokens.clone()).prop_map(|(round, tokens)| Operation::Append { round, tokens }),
        2 => (round.clone(), tokens, any::<bool>())
            .prop_map(|(round, tokens, commit)| Operation::Lease { round, tokens, commit }),
        3 => round.clone().prop_map(|round| Operation::End { round }),
        1 => round.prop_map(|round| Operation::Preempt { round }),
        1 => (0..SESSIONS).prop_map(|session| Operation::Drop { session }),
        1 => (1_u64..50).prop_map(|seconds| Operation::Pass { seconds }),
    ]
}

struct Round {
    number: u64,
    session: String,
    salt: [u8; 32],
    tokens: Vec<u32>,
    computed: usize,
    blocks: Vec<u32>,
}

/// The books with what the pool would hold.
struct World {
    kv: KvManager,
    /// Token and salt of each row of each block, as a backend would have computed them.
    content: HashMap<(u32, usize), (u32, u8)>,
    rounds: Vec<Round>,
    numbers: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (content, rounds) = (HashMap::new(), Vec::new());
        Self { kv: KvManager::new(BLOCKS), content, rounds, numbers: 0, now: Instant::now() }
    }

    fn apply(&mut self, operation: &Operation) {
        self.kv.advance(self.now);
        match *operation {
            Operation::Begin { session, salt, keep, new, branch } => {
                self.begin(session, salt, keep, new, branch);
            }
            Operation::Append { round, tokens } => self.extend(round, tokens, Holder::Active, true),
            Operation::Lease { round, tokens, commit } => self.extend(round, tokens, Holder::Leased, commit),
            Operation::End { round } if round < self.rounds.len() => {
                let round = self.rounds.remove(round);
                let sequence = Sequence {
                    salt: round.salt,
                    tokens: round.tokens[..round.computed].to_vec(),
                    blocks: round.blocks[..round.computed.div_ceil(BLOCK_TOKENS)].to_vec(),
                };
                self.kv.end_round(&round.session, round.number, sequence);
                self.kv.release(&round.blocks, Holder::Active);
            }
            Operation::Preempt { round } if round < self.rounds.len() => {
                let round = &mut self.rounds[round];
                round.computed = 0;
                self.kv.release(&std::mem::take(&mut round.blocks), Holder::Active);
            }
            Operation::End { .. } | Operation::Preempt { .. } => {}
            Operation::Drop { session } => self.kv.drop_session(&session.to_string()),
            Operation::Pass { seconds } => {
                self.now += Duration::from_secs(seconds);
                self.kv.expire(self.now, TTL);
            }
        }
    }

    fn begin(&mut self, session: u8, salt: u8, keep: usize, new: usize, branch: u32) {
        let session = session.to_string();
        if self.kv.sessions().is_busy(&session) {
            return;
        }
        assert!(self.kv.bind(&session, 1, 3) || self.rounds.len() >= 3, "an idle session could be dropped");
        if self.kv.sessions().epoch(&session).is_none() {
            return;
        }
        let tokens: Vec<u32> =
            (0..keep as u32).chain((0..new as u32).map(|at| 1000 * (branch + 1) + at)).collect();
        self.numbers += 1;
        let limit = tokens.len() - 1;
        let (computed, blocks) = self.kv.begin_round(&session, self.numbers, &[salt; 32], &tokens, limit);
        assert!(computed <= limit);
        assert_eq!(blocks.len(), computed.div_ceil(BLOCK_TOKENS));
        for (at, &token) in tokens[..computed].iter().enumerate() {
            let row = (blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS);
            assert_eq!(
                self.content.get(&row),
                Some(&(token, salt)),
                "history token {at} is not what it should be"
            );
        }
        self.rounds.push(Round { number: self.numbers, session, salt: [salt; 32], tokens, computed, blocks });
    }

    /// Computes up to `count` tokens of a round, if there is room.
    fn extend(&mut self, round: usize, count: usize, holder: Holder, commit: bool) {
        let Some(round) = self.rounds.get_mut(round) else { return };
        let kv = &mut self.kv;
        let end = (round.computed + count).min(round.tokens.len());
        if !round.computed.is_multiple_of(BLOCK_TOKENS) {
            let place = round.computed / BLOCK_TOKENS;
            match kv.make_exclusive(round.blocks[place]) {
                Ok(Exclusive::InPlace) => {}
                Ok(Exclusive::CopyTo(copy)) => {
                    for row in 0..BLOCK_TOKENS {
                        let from = self.content.get(&(round.blocks[place], row)).copied();
                        from.map(|from| self.content.insert((copy, row), from));
                    }
                    round.blocks[place] = copy;
                }
                Err(_) => return,
            }
        }
        let missing = end.div_ceil(BLOCK_TOKENS).saturating_sub(round.blocks.len());
        let Ok(added) = kv.allocate(missing, holder) else {
            assert!(kv.ledger().available() < missing);
            return;
        };
        assert_eq!(added.len(), missing);
        round.blocks.extend(&added);
        // A lease that is given up was written halfway.
        let written = if commit { end } else { round.computed + (end - round.computed) / 2 };
        for at in round.computed..written {
            let row = (round.blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS);
            self.content.insert(row, (round.tokens[at], round.salt[0]));
        }
        if !commit {
            round.blocks.truncate(round.blocks.len() - missing);
            kv.release(&added, holder);
            return;
        }
        if holder == Holder::Leased {
            kv.convert(&added, Holder::Leased, Holder::Active);
        }
        round.computed = end;
        let mut parent = ChainHash::root(&round.salt);
        for (content, &block) in round.tokens[..end].chunks_exact(BLOCK_TOKENS).zip(&round.blocks) {
            parent = kv.seal(parent, content, block);
        }
    }

    fn check(&self) {
        assert!(self.kv.ledger().balances(), "{:?}", self.kv.ledger());
        let holds =
            self.rounds.iter().flat_map(|round| round.blocks.iter().map(|&block| (block, Holder::Active)));
        self.kv.check(holds).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn books_hold_and_prefixes_are_true(operations in prop::collection::vec(operation(), 1..120)) {
        let mut world = World::new();
        for operation in &operations {
            world.apply(operation);
            world.check();
        }
        // Nothing is lost: when everything has ended and expired, every block is free again.
        while !world.rounds.is_empty() {
            world.apply(&Operation::End { round: 0 });
            world.check();
        }
        world.apply(&Operation::Pass { seconds: 2 * TTL.as_secs() });
        world.check();
        prop_assert_eq!(world.kv.ledger().free, BLOCKS);
        prop_assert_eq!(world.kv.sessions().count(), 0);
    }
}

const SALT: [u8; 32] = [7; 32];

/// Computes a whole prompt in session `name` and ends the round.
fn keep(kv: &mut KvManager, name: &str, tokens: &[u32]) {
    assert!(kv.bind(name, 1, 100));
    let (history, mut blocks) = kv.begin_round(name, 1, &SALT, tokens, tokens.len() - 1);
    assert_eq!(history % BLOCK_TOKENS, 0, "this helper does not copy on write");
    let missing = tokens.len().div_ceil(BLOCK_TOKENS) - blocks.len();
    blocks.extend(kv.allocate(missing, Holder::Active).unwrap());
    let mut parent = ChainHash::root(&SALT);
    for (content, &block) in tokens.chunks_exact(BLOCK_TOKENS).zip(&blocks) {
        parent = kv.seal(parent, content, block);
    }
    kv.end_round(name, 1, Sequence { salt: SALT, tokens: tokens.to_vec(), blocks: blocks.clone() });
    kv.release(&blocks, Holder::Active);
}

fn text(start: u32, length: u32) -> Vec<u32> {
    (start..start + length).collect()
}

#[test]
fn own_session_matches_by_token_and_others_by_block() {
    let mut kv = KvManager::new(BLOCKS);
    keep(&mut kv, "a", &text(0, 70));
    let mut next = text(0, 67);
    next.extend([900, 901]);
    assert_eq!(kv.begin_round("a", 2, &SALT, &next, next.len() - 1).0, 67);
    assert!(kv.bind("b", 1, 100));
    assert_eq!(kv.begin_round("b", 3, &SALT, &next, next.len() - 1).0, 64);
    assert!(kv.bind("c", 1, 100));
    assert_eq!(kv.begin_round("c", 4, &[8; 32], &next, next.len() - 1).0, 0, "another tenant shares nothing");
}

#[test]
fn last_token_is_never_history() {
    let mut kv = KvManager::new(BLOCKS);
    keep(&mut kv, "a", &text(0, 64));
    assert_eq!(kv.begin_round("a", 2, &SALT, &text(0, 64), 63).0, 63);
    assert!(kv.bind("b", 1, 100));
    assert_eq!(kv.begin_round("b", 3, &SALT, &text(0, 64), 63).0, 32);
}

#[test]
fn least_recently_used_goes_first_and_from_its_end() {
    let mut kv = KvManager::new(6);
    keep(&mut kv, "old", &text(0, 96));
    keep(&mut kv, "new", &text(500, 96));
    let taken = kv.allocate(2, Holder::Active).unwrap();
    let mut chain = Vec::new();
    for _ in 0..2 {
        let found = kv.find_prefix(&SALT, &text(0, 96), &mut chain);
        assert_eq!(found.len(), 1, "the old session lost its last two blocks");
        assert_eq!(chain.len(), 2, "hashes are computed once, as far as they are needed");
    }
    assert_eq!(kv.find_prefix(&SALT, &text(500, 96), &mut Vec::new()).len(), 3);
    kv.release(&taken, Holder::Active);
}

#[test]
fn sealed_block_is_copied_before_it_is_written() {
    let mut kv = KvManager::new(BLOCKS);
    keep(&mut kv, "a", &text(0, 64));
    let mut next = text(0, 40);
    next.extend([900, 901]);
    let (history, blocks) = kv.begin_round("a", 2, &SALT, &next, next.len() - 1);
    assert_eq!(history, 40);
    let Ok(Exclusive::CopyTo(copy)) = kv.make_exclusive(blocks[1]) else { panic!("must copy") };
    assert_ne!(copy, blocks[1]);
    assert_eq!(kv.find_prefix(&SALT, &text(0, 64), &mut Vec::new()), blocks, "the original is still shared");
}

#[test]
fn without_room_for_a_copy_the_cache_gives_way() {
    let mut kv = KvManager::new(2);
    keep(&mut kv, "a", &text(0, 64));
    let (history, blocks) = kv.begin_round("a", 2, &SALT, &text(0, 64), 63);
    assert_eq!(history, 63);
    assert_eq!(kv.make_exclusive(blocks[1]), Ok(Exclusive::InPlace));
    assert_eq!(
        kv.find_prefix(&SALT, &text(0, 64), &mut Vec::new()).len(),
        1,
        "what will be written is not offered any more"
    );
}

#[test]
fn dropped_session_gets_nothing_back() {
    let mut kv = KvManager::new(BLOCKS);
    assert!(kv.bind("a", 1, 100));
    kv.begin_round("a", 1, &SALT, &text(0, 40), 39);
    let blocks = kv.allocate(2, Holder::Active).unwrap();
    kv.drop_session("a");
    assert!(kv.bind("a", 2, 100));
    kv.begin_round("a", 2, &SALT, &text(0, 40), 39);
    kv.end_round("a", 1, Sequence { salt: SALT, tokens: text(0, 40), blocks: blocks.clone() });
    kv.release(&blocks, Holder::Active);
    assert_eq!(kv.ledger().free, BLOCKS, "the round of the dropped session left nothing");
    assert!(kv.sessions().is_busy("a"), "and did not end the new session's round");
}

#[test]
fn broken_books_are_told() {
    let mut kv = KvManager::new(BLOCKS);
    let blocks = kv.allocate(1, Holder::Active).unwrap();
    assert!(kv.check(std::iter::empty()).is_err(), "a holder on the books that nobody is");
    kv.release(&blocks, Holder::Active);
    kv.release(&blocks, Holder::Active);
    assert!(kv.intact().is_err(), "released twice");
}

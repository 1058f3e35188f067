//! Moving KV between two engines as two workers would.

use std::ops::Range;
use std::time::Instant;

use ampd_engine::backend::{KvRead, KvSpan};
use ampd_engine::core::{Engine, LayerHook, RoundId};

use super::{Outcomes, SALT, step};

/// One layer's KV of some tokens.
#[derive(Clone)]
pub struct Piece {
    pub round: RoundId,
    pub layer: usize,
    pub tokens: Range<usize>,
    pub data: Vec<u8>,
}

/// Keeps what the hook is shown.
#[derive(Default)]
pub struct Collect {
    pub pieces: Vec<Piece>,
}

impl LayerHook for Collect {
    fn after_layer(
        &mut self,
        layer: usize,
        round: RoundId,
        tokens: Range<usize>,
        kv: &dyn KvRead,
        span: KvSpan<'_>,
    ) {
        assert_eq!(tokens, span.tokens());
        let mut data = Vec::new();
        kv.read_kv(layer, span, &mut data).unwrap();
        self.pieces.push(Piece { round, layer, tokens, data });
    }
}

pub fn read(engine: &Engine, round: RoundId, layer: usize, tokens: Range<usize>) -> Vec<u8> {
    let mut data = Vec::new();
    engine.read_kv(round, layer, tokens, &mut data).unwrap();
    data
}

/// Prefills the opened `round` of `decode` in `prefill`, up to and including the commit: pulls the history that the
/// prefix cache of `prefill` lacks, computes the increment, pushes it. Returns the pieces pushed.
pub fn remote_prefill(
    decode: &mut Engine,
    prefill: &mut Engine,
    round: RoundId,
    tokens: &[u32],
) -> Vec<Piece> {
    let now = Instant::now();
    let range = decode.lease_remote(round, now).unwrap();
    let layers = decode.kv_shape().layers;
    let task = prefill.open_prefill(tokens[..range.end].to_vec(), SALT, now).unwrap();
    let mut pieces = Vec::new();
    for layer in 0..layers {
        if task.cached < range.history {
            let pulled = task.cached..range.history;
            let data = read(decode, round, layer, pulled.clone());
            prefill.import(task.id, layer, pulled, &data).unwrap();
        } else if task.cached > range.history {
            let tokens = range.history..task.cached;
            let data = read(prefill, task.id, layer, tokens.clone());
            pieces.push(Piece { round: task.id, layer, tokens, data });
        }
    }
    prefill.start_prefill(task.id, task.cached.max(range.history), now).unwrap();
    let (mut hook, mut outcomes) = (Collect::default(), Outcomes::default());
    while prefill.has_work() {
        assert!(step(prefill, &mut hook, &mut outcomes));
    }
    assert!(outcomes.get(task.id).prefilled);
    pieces.extend(hook.pieces);
    for piece in &pieces {
        decode.write_remote(round, piece.layer, piece.tokens.clone(), &piece.data).unwrap();
    }
    decode.commit_remote(round, now).unwrap();
    pieces
}

/// Checks that the pieces of a round cover `range` in every layer, in order and once.
pub fn assert_covers_once(pieces: &[Piece], round: RoundId, layers: usize, range: Range<usize>) {
    for layer in 0..layers {
        let mut at = range.start;
        for piece in pieces.iter().filter(|piece| piece.round == round && piece.layer == layer) {
            assert_eq!(piece.tokens.start, at);
            at = piece.tokens.end;
        }
        assert_eq!(at, range.end);
    }
}

//! A backend whose KV is a fingerprint: each row holds a hash of its token and of all rows before it, as they lie in the
//! pool. Any stale, shared or misplaced row changes everything computed after it, so equal outputs mean that every row
//! was right. It steps in microseconds, which is what tests with thousands of steps need.

use ampd_engine::backend::{
    BLOCK_TOKENS, Backend, BackendError, KvRead, KvShape, KvSpan, Logits, LogitsWanted, RaggedBatch,
};
use ampd_engine::model::ModelConfig;

const HEADS: usize = 2;
const HEAD_BYTES: usize = 8;

pub struct ContentBackend {
    config: ModelConfig,
    shape: KvShape,
    /// `[layer][K|V][block][head][row][HEAD_BYTES]`
    pool: Vec<u8>,
}

fn mix(a: u64, b: u64) -> u64 {
    let mut x = (a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x632b_e59b_d9b4_e019);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl ContentBackend {
    /// A pool of this many blocks for a model of this shape; heads are this backend's own.
    pub fn new(config: &ModelConfig, blocks: usize) -> Self {
        let shape = KvShape { layers: config.layers, kv_heads: HEADS, head_dim: HEAD_BYTES / 2, blocks };
        Self { config: config.clone(), shape, pool: vec![0xee; blocks * BLOCK_TOKENS * shape.token_bytes()] }
    }

    fn place(
        &self,
        layer: usize,
        part: usize,
        block: u32,
        head: usize,
        row: usize,
    ) -> std::ops::Range<usize> {
        assert!((block as usize) < self.shape.blocks && layer < self.shape.layers);
        let piece = (layer * 2 + part) * self.shape.blocks + block as usize;
        let at = ((piece * HEADS + head) * BLOCK_TOKENS + row) * HEAD_BYTES;
        at..at + HEAD_BYTES
    }

    fn get(&self, layer: usize, part: usize, block: u32, head: usize, row: usize) -> u64 {
        u64::from_le_bytes(self.pool[self.place(layer, part, block, head, row)].try_into().unwrap())
    }

    /// Visits the places of a span in the order of the exported form.
    fn places(&self, layer: usize, span: KvSpan<'_>, mut visit: impl FnMut(std::ops::Range<usize>)) {
        for part in 0..2 {
            for block in span.start / BLOCK_TOKENS..span.end.div_ceil(BLOCK_TOKENS) {
                let first = span.start.max(block * BLOCK_TOKENS) - block * BLOCK_TOKENS;
                let last = span.end.min((block + 1) * BLOCK_TOKENS) - block * BLOCK_TOKENS;
                for head in 0..HEADS {
                    for row in first..last {
                        visit(self.place(layer, part, span.block_table[block], head, row));
                    }
                }
            }
        }
    }
}

impl KvRead for ContentBackend {
    fn kv_shape(&self) -> KvShape {
        self.shape
    }

    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        self.places(layer, span, |place| out.extend_from_slice(&self.pool[place]));
        Ok(())
    }
}

impl Backend for ContentBackend {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn step(
        &mut self,
        batch: &RaggedBatch,
        after_layer: &mut dyn FnMut(usize, &dyn KvRead),
    ) -> Result<Logits, BackendError> {
        // What each row knows so far, layer by layer.
        let mut states: Vec<Vec<u64>> = batch
            .sequences
            .iter()
            .map(|s| s.tokens.iter().map(|&token| mix(1, u64::from(token))).collect())
            .collect();
        for layer in 0..self.shape.layers {
            for (sequence, states) in batch.sequences.iter().zip(&mut states) {
                assert!(sequence.block_table.len() * BLOCK_TOKENS >= sequence.start + sequence.tokens.len());
                for (offset, state) in states.iter_mut().enumerate() {
                    let position = sequence.start + offset;
                    let own = sequence.block_table[position / BLOCK_TOKENS];
                    for part in 0..2 {
                        for head in 0..HEADS {
                            let place = self.place(layer, part, own, head, position % BLOCK_TOKENS);
                            let value = mix(*state, (position * 4 + part * 2 + head) as u64);
                            self.pool[place].copy_from_slice(&value.to_le_bytes());
                        }
                    }
                    let mut sum = *state;
                    for before in 0..=position {
                        let block = sequence.block_table[before / BLOCK_TOKENS];
                        for part in 0..2 {
                            for head in 0..HEADS {
                                sum = mix(sum, self.get(layer, part, block, head, before % BLOCK_TOKENS));
                            }
                        }
                    }
                    *state = sum;
                }
            }
            after_layer(layer, self);
        }
        let mut data = Vec::new();
        for (sequence, states) in batch.sequences.iter().zip(&states) {
            let rows = match sequence.logits {
                LogitsWanted::None => &[],
                LogitsWanted::Last => &states[states.len() - 1..],
                LogitsWanted::All => states,
            };
            for state in rows {
                data.extend((0..self.config.vocab as u64).map(|id| (mix(*state, id) % 1000) as f32 / 200.0));
            }
        }
        Ok(Logits { vocab: self.config.vocab, data })
    }

    fn write_kv(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        let mut places = Vec::new();
        self.places(layer, span, |place| places.push(place));
        assert_eq!(data.len(), places.len() * HEAD_BYTES);
        for (place, bytes) in places.into_iter().zip(data.chunks(HEAD_BYTES)) {
            self.pool[place].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        for layer in 0..self.shape.layers {
            for part in 0..2 {
                for head in 0..HEADS {
                    let from = self.place(layer, part, from, head, 0).start;
                    let to = self.place(layer, part, to, head, 0).start;
                    self.pool.copy_within(from..from + BLOCK_TOKENS * HEAD_BYTES, to);
                }
            }
        }
        Ok(())
    }
}

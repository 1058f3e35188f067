//! What the engine asks of a compute backend: one ragged step over paged KV, and raw access to that KV.

use std::ops::Range;

use crate::model::ModelConfig;

/// Tokens per KV block.
pub const BLOCK_TOKENS: usize = 32;

/// Bytes of one stored KV element (bf16).
pub const KV_ELEMENT_BYTES: usize = 2;

/// The size of a KV pool: one K and one V pool per layer, each `[blocks, kv_heads, BLOCK_TOKENS, head_dim]` in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Transformer layers.
    pub layers: usize,
    /// KV heads per layer.
    pub kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Blocks in the pool.
    pub blocks: usize,
}

impl KvShape {
    /// The pool of a model of this shape, with `blocks` blocks.
    #[must_use]
    pub fn of(config: &ModelConfig, blocks: usize) -> Self {
        Self { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim, blocks }
    }

    /// Bytes that one token takes in one layer, K and V together.
    #[must_use]
    pub fn token_layer_bytes(&self) -> usize {
        2 * self.kv_heads * self.head_dim * KV_ELEMENT_BYTES
    }

    /// Checks that `span` lies within the pool.
    ///
    /// # Errors
    /// When layer, blocks or range lie outside.
    pub fn check_span(&self, layer: usize, span: KvSpan<'_>) -> Result<(), BackendError> {
        let covered = span.block_table.len() * BLOCK_TOKENS;
        let bad = if layer >= self.layers {
            format!("layer {layer} of {}", self.layers)
        } else if span.start > span.end || span.end > covered {
            format!("tokens {}..{} with blocks for {covered}", span.start, span.end)
        } else {
            let used = &span.block_table[span.start / BLOCK_TOKENS..span.end.div_ceil(BLOCK_TOKENS)];
            match used.iter().find(|block| **block as usize >= self.blocks) {
                Some(block) => format!("block {block} of {}", self.blocks),
                None => return Ok(()),
            }
        };
        Err(BackendError::InvalidBatch(bad))
    }

    /// Bytes that one token takes in all layers.
    #[must_use]
    pub fn token_bytes(&self) -> usize {
        self.layers * self.token_layer_bytes()
    }
}

/// A token range of one sequence, addressed through its block table: token `t` lies in row `t % BLOCK_TOKENS` of block
/// `block_table[t / BLOCK_TOKENS]`.
#[derive(Debug, Clone, Copy)]
pub struct KvSpan<'a> {
    /// Physical block of each logical block of the sequence.
    pub block_table: &'a [u32],
    /// First token.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
}

impl KvSpan<'_> {
    /// The span's tokens.
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The span cut at the edges of blocks, in order.
    ///
    /// # Panics
    /// When the block table does not cover the span.
    pub(crate) fn pieces(self) -> impl Iterator<Item = KvPiece> {
        let blocks = self.start / BLOCK_TOKENS..self.end.div_ceil(BLOCK_TOKENS);
        blocks.map(move |index| {
            let first = self.start.max(index * BLOCK_TOKENS);
            let last = self.end.min((index + 1) * BLOCK_TOKENS);
            KvPiece { block: self.block_table[index], row: first % BLOCK_TOKENS, rows: last - first }
        })
    }
}

/// Rows `row..row + rows` of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvPiece {
    /// The physical block.
    pub(crate) block: u32,
    /// First row.
    pub(crate) row: usize,
    /// Number of rows.
    pub(crate) rows: usize,
}

/// Which rows of a sequence's part of a step give logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsWanted {
    /// None: a prefill chunk that is not the prompt's last.
    None,
    /// Those of the last row.
    Last,
    /// Those of every row (log-probabilities of prompt tokens).
    All,
}

/// One sequence's rows in a step: `tokens` at positions `start..start + tokens.len()`.
#[derive(Debug, Clone)]
pub struct BatchSequence {
    /// New token ids, in order.
    pub tokens: Vec<u32>,
    /// Position of the first of them; the KV of all earlier positions is in the pool.
    pub start: usize,
    /// Blocks that cover at least `start + tokens.len()` positions.
    pub block_table: Vec<u32>,
    /// Which rows give logits.
    pub logits: LogitsWanted,
}

/// Decode rows and prefill chunks of any number of sequences, run as one step.
#[derive(Debug, Clone, Default)]
pub struct RaggedBatch {
    /// The sequences; no two write the same block.
    pub sequences: Vec<BatchSequence>,
}

impl RaggedBatch {
    /// Rows (new tokens) in all sequences.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).sum()
    }

    /// Which of the batch's rows give logits, in order.
    pub(crate) fn logit_rows(&self) -> Vec<usize> {
        let mut wanted = Vec::new();
        let mut row = 0;
        for sequence in &self.sequences {
            let end = row + sequence.tokens.len();
            match sequence.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => wanted.push(end - 1),
                LogitsWanted::All => wanted.extend(row..end),
            }
            row = end;
        }
        wanted
    }

    /// Checks that the batch can be run: every sequence has rows, known tokens, positions inside the context, and blocks
    /// inside the pool.
    ///
    /// # Errors
    /// Names what is wrong with the first sequence that cannot be run.
    pub fn check(&self, config: &ModelConfig, pool: KvShape) -> Result<(), BackendError> {
        for sequence in &self.sequences {
            let end = sequence.start + sequence.tokens.len();
            let bad = if sequence.tokens.is_empty() {
                "a sequence has no rows".to_owned()
            } else if end > config.max_context {
                format!("position {end} lies beyond the context of {}", config.max_context)
            } else if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= config.vocab)
            {
                format!("token {token} lies beyond the vocabulary of {}", config.vocab)
            } else {
                pool.check_span(0, KvSpan { block_table: &sequence.block_table, start: 0, end })?;
                continue;
            };
            return Err(BackendError::InvalidBatch(bad));
        }
        Ok(())
    }
}

/// Logits of the rows that asked for them, in batch order: `data` is `[rows, vocab]`.
#[derive(Debug, Clone)]
pub struct Logits {
    /// Vocabulary size.
    pub vocab: usize,
    /// Row-major values.
    pub data: Vec<f32>,
}

impl Logits {
    /// The `index`-th row that asked for logits.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.vocab..(index + 1) * self.vocab]
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab.max(1)
    }
}

/// A backend's failure.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A candle operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The caller handed over something that cannot be run.
    #[error("invalid batch: {0}")]
    InvalidBatch(String),
    /// Memory for weights or KV could not be had.
    #[error("cannot get {bytes} bytes of memory")]
    Memory {
        /// How much was wanted.
        bytes: usize,
        /// The cause.
        source: std::io::Error,
    },
    /// Engine threads could not be started.
    #[error("cannot start engine threads")]
    Threads(#[source] std::io::Error),
    /// This machine or this backend lacks something that was asked for.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// KV data of the wrong length.
    #[error("KV data for layer {layer} has {got} bytes, expected {expected}")]
    KvLength {
        /// Layer index.
        layer: usize,
        /// Bytes handed over.
        got: usize,
        /// Bytes that the span takes.
        expected: usize,
    },
}

/// Read access to the KV pool.
pub trait KvRead {
    /// The pool's size.
    fn kv_shape(&self) -> KvShape;

    /// Appends the KV of `span` in `layer` to `out`: K, then V; each, for every overlapped block in order,
    /// `[kv_heads][rows of the block inside the span][head_dim]`, bf16 little endian.
    ///
    /// # Errors
    /// When layer, blocks or range lie outside the pool.
    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError>;
}

/// A compute backend: the model's weights and its KV pool.
///
/// A step's results for a sequence do not depend on the other sequences in the batch, nor on how earlier steps cut its
/// prompt into chunks: every backend accumulates each output in one fixed order.
pub trait Backend: KvRead + Send {
    /// The model's configuration.
    fn config(&self) -> &ModelConfig;

    /// Runs one step. New KV is written to the pool layer by layer; after each layer `after_layer(layer, kv)` is called
    /// with that layer's KV in place.
    ///
    /// # Errors
    /// On an invalid batch or a failed operation; the KV of the batch's new positions is then undefined.
    fn step(
        &mut self,
        batch: &RaggedBatch,
        after_layer: &mut dyn FnMut(usize, &dyn KvRead),
    ) -> Result<Logits, BackendError>;

    /// Writes the KV of `span` in `layer` from the form that [`KvRead::read_kv`] produces.
    ///
    /// # Errors
    /// When `data` has the wrong length, or layer, blocks or range lie outside the pool.
    fn write_kv(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError>;

    /// Copies block `from` to block `to` in every layer.
    ///
    /// # Errors
    /// When a block lies outside the pool.
    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), BackendError>;
}

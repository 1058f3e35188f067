//! The KV pool in host memory.

use crate::backend::{BLOCK_TOKENS, BackendError, KvShape, KvSpan};

/// K and V of all layers, each layer `[blocks, kv_heads, BLOCK_TOKENS, head_dim]` as bf16 bits.
pub(super) struct KvPool {
    shape: KvShape,
    layers: Vec<[Vec<u16>; 2]>,
}

impl KvPool {
    pub(super) fn new(shape: KvShape) -> Self {
        let size = shape.blocks * shape.kv_heads * BLOCK_TOKENS * shape.head_dim;
        Self { shape, layers: (0..shape.layers).map(|_| [vec![0; size], vec![0; size]]).collect() }
    }

    pub(super) fn shape(&self) -> KvShape {
        self.shape
    }

    /// Index of the first element of one head of one block.
    fn page(&self, block: u32, head: usize) -> usize {
        (block as usize * self.shape.kv_heads + head) * BLOCK_TOKENS * self.shape.head_dim
    }

    /// One head of one block, K and V: `[BLOCK_TOKENS, head_dim]`.
    pub(super) fn pages(&self, layer: usize, block: u32, head: usize) -> (&[u16], &[u16]) {
        let (start, size) = (self.page(block, head), BLOCK_TOKENS * self.shape.head_dim);
        let [k, v] = &self.layers[layer];
        (&k[start..start + size], &v[start..start + size])
    }

    /// Writes one token's `k` and `v`, each `[kv_heads, head_dim]`, rounded to bf16.
    pub(super) fn write(&mut self, layer: usize, block: u32, row: usize, k: &[f32], v: &[f32]) {
        let dim = self.shape.head_dim;
        for (which, values) in [k, v].into_iter().enumerate() {
            for (head, values) in values.chunks_exact(dim).enumerate() {
                let start = self.page(block, head) + row * dim;
                let page = &mut self.layers[layer][which][start..start + dim];
                for (bits, value) in page.iter_mut().zip(values) {
                    *bits = half::bf16::from_f32(*value).to_bits();
                }
            }
        }
    }

    /// Calls `visit` with the place of each run of elements of `span`, in the order of [`crate::backend::KvRead::read_kv`].
    fn runs(&self, span: KvSpan<'_>, mut visit: impl FnMut(usize, std::ops::Range<usize>)) {
        let dim = self.shape.head_dim;
        for which in 0..2 {
            for index in span.start / BLOCK_TOKENS..span.end.div_ceil(BLOCK_TOKENS) {
                let first = span.start.max(index * BLOCK_TOKENS) % BLOCK_TOKENS;
                let rows = span.end.min((index + 1) * BLOCK_TOKENS) - span.start.max(index * BLOCK_TOKENS);
                for head in 0..self.shape.kv_heads {
                    let start = self.page(span.block_table[index], head) + first * dim;
                    visit(which, start..start + rows * dim);
                }
            }
        }
    }

    pub(super) fn export(
        &self,
        layer: usize,
        span: KvSpan<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        out.reserve(span.tokens().len() * self.shape.token_layer_bytes());
        self.runs(span, |which, run| {
            out.extend(self.layers[layer][which][run].iter().flat_map(|bits| bits.to_le_bytes()));
        });
        Ok(())
    }

    pub(super) fn import(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        self.shape.check_span(layer, span)?;
        let expected = span.tokens().len() * self.shape.token_layer_bytes();
        if data.len() != expected {
            return Err(BackendError::KvLength { layer, got: data.len(), expected });
        }
        let mut places = Vec::new();
        self.runs(span, |which, run| places.push((which, run)));
        let mut values = data.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        for (which, run) in places {
            for (bits, value) in self.layers[layer][which][run].iter_mut().zip(values.by_ref()) {
                *bits = value;
            }
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        for block in [from, to] {
            self.shape.check_span(0, KvSpan { block_table: &[block], start: 0, end: 1 })?;
        }
        let (start, end) = (self.page(from, 0), self.page(from + 1, 0));
        let target = self.page(to, 0);
        for part in self.layers.iter_mut().flatten() {
            part.copy_within(start..end, target);
        }
        Ok(())
    }
}

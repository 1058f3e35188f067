//! Cutting a span's KV into pieces that fit data frames.

use std::ops::Range;

use bytes::Bytes;

/// The sizes that cutting depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Tokens per block.
    pub(crate) block_tokens: usize,
    /// Bytes of one token in one layer.
    pub(crate) token_bytes: usize,
    /// The most bytes of a piece; a block at least.
    pub(crate) data_bytes: usize,
}

impl Cut {
    /// Cuts tokens at block boundaries, so that K and V of each piece lie in one run of bytes each.
    pub(crate) fn ranges(self, tokens: Range<usize>) -> impl Iterator<Item = Range<usize>> + Send {
        let blocks = (self.data_bytes / (self.block_tokens * self.token_bytes)).max(1);
        let step = blocks * self.block_tokens;
        let mut start = tokens.start;
        std::iter::from_fn(move || {
            let end = (start / self.block_tokens * self.block_tokens + step).min(tokens.end);
            let piece = (start < end).then_some(start..end);
            start = end;
            piece
        })
    }

    /// K and V of the tokens of `part`, which [`Cut::ranges`] gave for `whole`, whose KV is `data`.
    pub(crate) fn part(self, data: &Bytes, whole: &Range<usize>, part: &Range<usize>) -> [Bytes; 2] {
        if part == whole {
            return [data.clone(), Bytes::new()];
        }
        let row = self.token_bytes / 2;
        let half = data.len() / 2;
        let inside = (part.start - whole.start) * row..(part.end - whole.start) * row;
        [data.slice(inside.clone()), data.slice(half + inside.start..half + inside.end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KV of tokens in the engine's form: each element says whose it is.
    fn kv(tokens: Range<usize>, block: usize, heads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for side in [0, 100] {
            for first in (tokens.start / block * block..tokens.end).step_by(block) {
                let rows = first.max(tokens.start)..(first + block).min(tokens.end);
                for head in 0..heads {
                    out.extend(rows.clone().map(|token| (side + head * 50 + token) as u8));
                }
            }
        }
        out
    }

    #[test]
    fn pieces_are_spans_of_their_own() {
        let cut = Cut { block_tokens: 4, token_bytes: 4, data_bytes: 35 };
        for tokens in [0..21, 3..21, 4..8, 5..6, 7..33] {
            let data = Bytes::from(kv(tokens.clone(), 4, 2));
            let mut next = tokens.start;
            for part in cut.ranges(tokens.clone()) {
                let got = cut.part(&data, &tokens, &part).concat();
                assert_eq!(got, kv(part.clone(), 4, 2), "{part:?} of {tokens:?}");
                assert!(got.len() <= 32 && part.start == next);
                next = part.end;
            }
            assert_eq!(next, tokens.end);
        }
        assert_eq!(cut.ranges(5..5).count(), 0);
    }
}

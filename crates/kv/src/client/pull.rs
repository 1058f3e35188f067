//! Pulling history.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::Transfer;
use crate::KvError;
use crate::frame::{Frame, Span};

/// KV of a token range in one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Layer.
    pub layer: usize,
    /// Positions in the round's sequence.
    pub tokens: Range<usize>,
    /// K, then V, as the engine's `read_kv` gives them for this span.
    pub data: Bytes,
}

/// Pieces of KV on their way. Dropping it before its end leaves pieces that nobody takes: the transfer can then push and
/// finish, but pull no more.
#[derive(Debug)]
pub struct Pull<'a> {
    transfer: &'a mut Transfer,
    /// What is still to be asked for.
    rest: VecDeque<Span>,
}

impl<'a> Pull<'a> {
    pub(super) fn new(transfer: &'a mut Transfer, layers: Range<usize>, tokens: Range<usize>) -> Self {
        let span = |layer: usize, tokens: Range<usize>| Span {
            layer: layer as u32,
            start: tokens.start as u32,
            count: tokens.len() as u32,
        };
        let cut = transfer.cut;
        let rest =
            layers.flat_map(|layer| cut.ranges(tokens.clone()).map(move |part| span(layer, part))).collect();
        Self { transfer, rest }
    }

    /// The next piece; none when all are there. If the call is dropped, nothing is lost.
    ///
    /// # Errors
    /// When the transfer broke or the owner ended it.
    pub async fn next(&mut self) -> Result<Option<Piece>, KvError> {
        let Transfer { shared, queue, pieces, cut, limits, outstanding, .. } = &mut *self.transfer;
        let window = limits.window_bytes as usize;
        while let Some(span) = self.rest.front() {
            let bytes = span.bytes(cut.token_bytes) as usize;
            if *outstanding > 0 && *outstanding + bytes > window {
                break;
            }
            let Ok(room) = queue.reserve().await else { return Err(shared.failure().await) };
            shared.change(|state| {
                state.pulled.begin();
                state.asked.insert(*span);
            });
            room.send(Frame::Pull(*span).into());
            *outstanding += bytes;
            self.rest.pop_front();
        }
        if *outstanding == 0 {
            return Ok(None);
        }
        let arrived = shared.wait("pulling history", limits.progress, |_| pieces.try_recv().ok());
        let (span, data) = arrived.await?;
        *outstanding -= data.len();
        Ok(Some(Piece { layer: span.layer as usize, tokens: span.tokens(), data }))
    }
}

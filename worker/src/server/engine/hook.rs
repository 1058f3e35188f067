//! Letting the KV of prefills leave while they compute.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ampd_engine::backend::{KvRead, KvSpan};
use ampd_engine::core::{LayerHook, RoundId};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of computed KV that wait to be sent, all prefills together.
const BUFFER: usize = 256 << 20;
/// The most of one prefill: one receiver that does not take its KV leaves room for others.
const SHARE: usize = BUFFER / 8;
/// Unit of the buffer's accounting, bytes.
const UNIT: usize = 1 << 10;
/// How long the engine waits for room in the buffer before it gives the prefill up whose KV does not leave: other
/// prefills must not wait for one slow receiver.
const PATIENCE: Duration = Duration::from_millis(500);

/// KV of one layer that is ready to be sent.
#[derive(Debug)]
pub(in crate::server) struct PieceOut {
    /// The layer.
    pub layer: usize,
    /// The tokens.
    pub tokens: Range<usize>,
    /// Their KV in the engine's form.
    pub data: Bytes,
    /// Its room in its prefill's share, and in the buffer.
    _room: [OwnedSemaphorePermit; 2],
}

/// The pieces of one prefill; it ends with the prefill, or early when its KV cannot be handed on.
pub(in crate::server) type Pieces = mpsc::UnboundedReceiver<PieceOut>;

/// Reads each prefill's new KV after every layer and hands it to whoever sends it.
pub(super) struct PushHook {
    targets: HashMap<RoundId, Target>,
    room: Arc<Semaphore>,
    runtime: Handle,
}

/// Where the KV of one prefill goes.
struct Target {
    /// Unbounded: `share` bounds what it holds.
    pieces: mpsc::UnboundedSender<PieceOut>,
    share: Arc<Semaphore>,
}

impl PushHook {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { targets: HashMap::new(), room: Arc::new(Semaphore::new(BUFFER / UNIT)), runtime }
    }

    /// Hands on the KV of `round` from now on.
    pub(super) fn add(&mut self, round: RoundId) -> Pieces {
        let (sender, pieces) = mpsc::unbounded_channel();
        let share = Arc::new(Semaphore::new(SHARE / UNIT));
        self.targets.insert(round, Target { pieces: sender, share });
        pieces
    }

    pub(super) fn remove(&mut self, round: RoundId) {
        self.targets.remove(&round);
    }

    fn take_room(&self, share: &Arc<Semaphore>, bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        let units = bytes.div_ceil(UNIT).min(SHARE / UNIT) as u32;
        let take = |room: &Arc<Semaphore>| {
            let at_once = room.clone().try_acquire_many_owned(units).ok();
            at_once.or_else(|| {
                let wait = room.clone().acquire_many_owned(units);
                // The timer needs the runtime, also to be made.
                self.runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await }).ok()?.ok()
            })
        };
        Some([take(share)?, take(&self.room)?])
    }
}

impl LayerHook for PushHook {
    fn after_layer(
        &mut self,
        layer: usize,
        round: RoundId,
        tokens: Range<usize>,
        kv: &dyn KvRead,
        span: KvSpan<'_>,
    ) {
        let Some(target) = self.targets.get(&round) else { return };
        let bytes = tokens.len() * kv.kv_shape().token_layer_bytes();
        let mut data = Vec::with_capacity(bytes);
        let sent = match (kv.read_kv(layer, span, &mut data), self.take_room(&target.share, bytes)) {
            (Ok(()), Some(room)) => {
                target.pieces.send(PieceOut { layer, tokens, data: data.into(), _room: room }).is_ok()
            }
            (Err(error), _) => {
                tracing::error!(%round, layer, error = &error as &dyn std::error::Error, "cannot read computed KV");
                false
            }
            (Ok(()), None) => {
                tracing::warn!(%round, layer, "computed KV does not leave fast enough");
                false
            }
        };
        if !sent {
            self.targets.remove(&round);
        }
    }
}

//! An opened transfer, from its first request to the lease's end.

use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::KvServer;
use super::handshake::LINGER;
use super::work::Work;
use crate::coverage::Coverage;
use crate::frame::{Frame, FrameReader, Outgoing, write_frames};
use crate::leases::{LeaseEnd, Opened};
use crate::pieces::Cut;
use crate::{KvStore, Reason, TransferReport};

/// Requests of one transfer that are worked on at once, so that a store that serves many at a time gets many.
const OPERATIONS: usize = 128;

/// Frames that wait to be written.
const QUEUE: usize = 16;

/// Serves an opened lease until it ends.
pub(super) async fn run<S: KvStore>(
    server: &KvServer<S>,
    mut reader: FrameReader<impl AsyncRead + Unpin + Send>,
    writer: impl AsyncWrite + Unpin + Send,
    lease: Opened,
    cut: Cut,
    shutdown: &CancellationToken,
) {
    let limits = server.limits;
    reader.limit = limits.progress;
    reader.max_data = cut.data_bytes as u32;
    let (queue, queued) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let work = Work {
        server,
        lease: &lease,
        cut,
        queue: queue.clone(),
        stop: stop.clone(),
        coverage: Mutex::new(Coverage::new(server.fingerprint.layers as usize)),
        pulled: Mutex::default(),
        pushed: Mutex::default(),
    };
    let mut writing = pin!(write_frames(writer, queued, limits));
    let mut written = false;
    let mut verdict = None;
    let mut finish = false;
    {
        let budget = limits.window_bytes.max(cut.data_bytes as u32);
        let frames = requests(&mut reader, budget, cut).take_until(stop.clone().cancelled_owned());
        let mut results = pin!(
            frames
                .map(|(frame, place)| {
                    let work = &work;
                    async move {
                        let result = work.perform(frame?).await;
                        drop(place);
                        result
                    }
                })
                .buffer_unordered(OPERATIONS)
        );
        let mut ended = pin!(async {
            tokio::select! {
                end = lease.ended() => end.reason(),
                () = shutdown.cancelled() => Reason::ShuttingDown,
            }
        });
        loop {
            let failure = tokio::select! {
                biased;
                reason = &mut ended, if verdict.is_none() => reason,
                _ = &mut writing, if !written => {
                    written = true;
                    Reason::Disconnected
                }
                result = results.next() => match result {
                    // Nothing more is asked for, and everything that was is done.
                    None => break,
                    Some(Ok(last)) => {
                        finish |= last;
                        continue;
                    }
                    Some(Err(reason)) => reason,
                },
            };
            // The owner need not wait for the store to know that the transfer has failed.
            lease.end(LeaseEnd::Failed(*verdict.get_or_insert(failure)));
            stop.cancel();
        }
    }
    let whole = lease.grant().history..lease.grant().end;
    let complete = work.coverage.lock().complete(&whole);
    let failure = verdict.or_else(|| {
        let end = match (finish, complete) {
            (true, true) => LeaseEnd::Complete,
            (true, false) => LeaseEnd::Failed(Reason::Incomplete),
            (false, _) => LeaseEnd::Failed(Reason::Disconnected),
        };
        let end = lease.end(end);
        (end != LeaseEnd::Complete).then(|| end.reason())
    });
    let report =
        TransferReport { pulled: work.pulled.lock().flow(), pushed: work.pushed.lock().flow(), failure };
    tracing::debug!(round = lease.grant().round, ?report, "KV transfer is over");
    server.observer.transferred(&report);
    drop(work);
    if !written {
        let last = failure.map_or(Frame::Finished, Frame::Error);
        let telling = async {
            // If the connection is gone, there is nobody to tell.
            let told = queue.send(Outgoing::from(last)).await;
            drop(queue);
            told.is_ok()
        };
        let told = async { tokio::join!(telling, writing) };
        if let Ok((true, Ok(()))) = tokio::time::timeout(limits.progress, told).await {
            reader.linger(LINGER.0, LINGER.1).await;
        }
    }
}

/// A client's frames up to the one that is its last, or to the error that is. Each comes with its place in the budget of
/// KV bytes that are worked on; while the budget is spent, nothing is read.
fn requests<R: AsyncRead + Unpin + Send>(
    reader: &mut FrameReader<R>,
    budget: u32,
    cut: Cut,
) -> impl Stream<Item = (Result<Frame, Reason>, Option<OwnedSemaphorePermit>)> {
    let places = Arc::new(Semaphore::new(budget as usize));
    stream::unfold(Some(reader), move |reader| {
        let places = places.clone();
        async move {
            let reader = reader?;
            let frame = loop {
                match reader.next().await {
                    Ok(Frame::Ping) => {}
                    other => break other.map_err(Reason::from),
                }
            };
            let bytes = match &frame {
                Ok(Frame::Pull(span) | Frame::Data(span, _)) => span.bytes(cut.token_bytes),
                _ => 0,
            };
            let place = match bytes.min(u64::from(budget)) as u32 {
                0 => None,
                bytes => places.acquire_many_owned(bytes).await.ok(),
            };
            let last = !matches!(frame, Ok(Frame::Pull(_) | Frame::Data(..)));
            Some(((frame, place), (!last).then_some(reader)))
        }
    })
}

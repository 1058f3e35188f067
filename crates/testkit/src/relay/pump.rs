//! One direction of a connection through a relay.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Counts, Direction, Faults, Shared};

/// Bytes read at once.
const CHUNK: usize = 16 << 10;
/// Chunks that are on their way.
const ON_THE_WAY: usize = 64;

/// Why a direction did not end in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A fault cut the connection.
    Cut,
    /// One of the two sides broke off.
    Broken,
}

/// Passes bytes from `read` to `write`, harming them as the faults of the direction say, until the end of the input.
pub(super) async fn pump(
    read: ReadHalf<'_>,
    write: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
) -> Result<(), End> {
    let faults = shared.faults[direction.index()].subscribe();
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    let reader = take(read, sender, faults.clone());
    let writer = Writer { write, faults, shared, direction, position: 0 };
    tokio::try_join!(reader, writer.run(receiver)).map(|_| ())
}

/// Reads, and says when each chunk is to arrive.
async fn take(
    mut read: ReadHalf<'_>,
    sender: mpsc::Sender<(Instant, Bytes)>,
    faults: watch::Receiver<Faults>,
) -> Result<(), End> {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        if read.read_buf(&mut chunk).await.map_err(|_| End::Broken)? == 0 {
            return Ok(());
        }
        let due = Instant::now() + faults.borrow().delay;
        if sender.send((due, chunk.freeze())).await.is_err() {
            // The writer ended this direction early; what still comes is dropped, so that the peer does not block.
            let mut rest = vec![0; CHUNK];
            while read.read(&mut rest).await.map_err(|_| End::Broken)? > 0 {}
            return Ok(());
        }
    }
}

struct Writer<'a> {
    write: WriteHalf<'a>,
    faults: watch::Receiver<Faults>,
    shared: &'a Shared,
    direction: Direction,
    /// Of the next byte, from the connection's start.
    position: u64,
}

impl Writer<'_> {
    async fn run(mut self, mut receiver: mpsc::Receiver<(Instant, Bytes)>) -> Result<(), End> {
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            let mut chunk = BytesMut::from(chunk);
            while !chunk.is_empty() {
                self.wait_out_stall().await;
                let faults = *self.faults.borrow();
                if reached(faults.cut_at, self.position) {
                    return Err(End::Cut);
                }
                if reached(faults.half_close_at, self.position) {
                    self.shared.count(Counts::HALF_CLOSED, 1);
                    return self.write.shutdown().await.map_err(|_| End::Broken);
                }
                let piece = chunk.split_to(self.piece(&faults, chunk.len()));
                self.send(piece, &faults).await?;
            }
        }
        self.write.shutdown().await.map_err(|_| End::Broken)
    }

    async fn wait_out_stall(&mut self) {
        if self.faults.borrow().stall {
            self.shared.count(Counts::STALLED, 1);
            // The sender lives as long as `shared` does.
            let _ = self.faults.wait_for(|faults| !faults.stall).await;
        }
    }

    /// How many of the next `length` bytes may go at once: none beyond the next fault, and a limited rate in pieces of
    /// about 10 ms.
    fn piece(&self, faults: &Faults, length: usize) -> usize {
        let next = [faults.cut_at, faults.half_close_at];
        let next = next.into_iter().flatten().filter(|at| *at > self.position).min();
        let until = next.map_or(usize::MAX, |at| (at - self.position) as usize);
        let rate = faults.bandwidth.map_or(usize::MAX, |rate| (rate as usize / 100).max(1));
        length.min(until).min(rate)
    }

    async fn send(&mut self, mut piece: BytesMut, faults: &Faults) -> Result<(), End> {
        let range = self.position..self.position + piece.len() as u64;
        if let Some(at) = faults.flip_at.filter(|at| range.contains(at)) {
            piece[(at - range.start) as usize] ^= 1;
            self.shared.count(Counts::FLIPPED, 1);
        }
        self.write.write_all(&piece).await.map_err(|_| End::Broken)?;
        self.position = range.end;
        self.shared.count(Counts::BYTES + self.direction.index(), piece.len() as u64);
        if let Some(rate) = faults.bandwidth {
            tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / rate.max(1) as f64)).await;
        }
        Ok(())
    }
}

fn reached(fault: Option<u64>, position: u64) -> bool {
    fault.is_some_and(|at| position >= at)
}

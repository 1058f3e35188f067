//! A file's bytes on their way, with what goes wrong on it.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::faults::BodyFaults;

/// Bytes that are sent at once.
const PIECE: u64 = 16 << 10;

struct Sending {
    file: File,
    sent: u64,
    faults: BodyFaults,
}

/// The file from byte `from` on.
pub(super) async fn body(path: &Path, from: u64, faults: BodyFaults) -> io::Result<Body> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(from)).await?;
    let sending = Sending { file, sent: 0, faults };
    Ok(Body::from_stream(futures::stream::try_unfold(sending, async |mut sending| {
        let piece = sending.next().await?;
        Ok::<_, io::Error>((!piece.is_empty()).then_some((piece, sending)))
    })))
}

impl Sending {
    async fn next(&mut self) -> io::Result<Bytes> {
        let mut limit = PIECE;
        if let Some(cut) = self.faults.cut {
            limit = limit.min(cut.saturating_sub(self.sent));
            if limit == 0 {
                return Err(io::Error::other("cut"));
            }
        }
        if let Some(stall) = self.faults.stall {
            limit = limit.min(stall.saturating_sub(self.sent));
            if limit == 0 {
                std::future::pending::<()>().await;
            }
        }
        if let Some(speed) = self.faults.bytes_per_second {
            limit = limit.min((speed / 20).max(1));
            tokio::time::sleep(Duration::from_secs_f64(limit as f64 / speed as f64)).await;
        }
        let mut piece = vec![0; limit as usize];
        let read = self.file.read(&mut piece).await?;
        piece.truncate(read);
        if self.sent == 0 && self.faults.corrupt && read > 0 {
            piece[0] ^= 1;
        }
        self.sent += read as u64;
        Ok(piece.into())
    }
}

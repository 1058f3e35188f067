//! Frames from a stream.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Frame, FrameError, HEADER_BYTES, Header};

/// Reads frames from a stream.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    /// The most KV bytes that a data frame may carry now.
    pub(crate) max_data: u32,
    /// How long a frame may take, its waiting included.
    pub(crate) limit: Duration,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is no valid one.
    #[error("invalid frame")]
    Frame(#[from] FrameError),
    /// The connection ended or broke.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// It took too long.
    #[error("no frame came in time")]
    Timeout(Duration),
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, limit: Duration) -> Self {
        Self { stream, max_data: 0, limit }
    }

    /// The next frame. If the call is dropped before it is done, the reader cannot be used any more.
    pub(crate) async fn next(&mut self) -> Result<Frame, ReadError> {
        let limit = self.limit;
        match tokio::time::timeout(limit, self.read()).await {
            Ok(frame) => frame,
            Err(_) => Err(ReadError::Timeout(limit)),
        }
    }

    async fn read(&mut self) -> Result<Frame, ReadError> {
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head).await?;
        let header = Header::parse(&head, self.max_data)?;
        let mut body = BytesMut::with_capacity(header.body_bytes());
        while body.len() < header.body_bytes() {
            let missing = header.body_bytes() - body.len();
            if self.stream.read_buf(&mut (&mut body).limit(missing)).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(Frame::parse(&header, body.freeze())?)
    }

    /// Reads until the peer closes, but not for long and not too much: a connection that is closed with bytes unread is
    /// reset, and the peer would lose the last frame that was sent to it.
    pub(crate) async fn linger(mut self, limit: Duration, mut bytes: u64) {
        let mut waste = [0; 8192];
        let drained = async {
            while let Ok(read @ 1..) = self.stream.read(&mut waste).await {
                bytes = bytes.saturating_sub(read as u64);
                if bytes == 0 {
                    break;
                }
            }
        };
        // Whoever keeps the connection open for longer loses it.
        let _ = tokio::time::timeout(limit, drained).await;
    }
}

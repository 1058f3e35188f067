//! Frames to a stream.

use std::time::Duration;

use bytes::Buf as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::Frame;
use crate::Limits;

/// A frame to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frame: Frame,
    /// Told when the frame is handed to the connection.
    pub(crate) sent: Option<oneshot::Sender<()>>,
}

impl From<Frame> for Outgoing {
    fn from(frame: Frame) -> Self {
        Self { frame, sent: None }
    }
}

/// Writes one frame.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &Frame,
    limit: Duration,
) -> std::io::Result<()> {
    let written = async {
        let (head, [first, second]) = frame.encode();
        stream.write_all_buf(&mut head.chain(first).chain(second)).await?;
        stream.flush().await
    };
    tokio::time::timeout(limit, written).await?
}

/// Writes what is queued, and pings when there is nothing for a while, until the queue is closed; then closes the stream.
pub(crate) async fn write_frames(
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
    limits: Limits,
) -> std::io::Result<()> {
    loop {
        let outgoing = match tokio::time::timeout(limits.ping, queue.recv()).await {
            Ok(Some(outgoing)) => outgoing,
            Ok(None) => break,
            Err(_) => Frame::Ping.into(),
        };
        write_frame(&mut stream, &outgoing.frame, limits.progress).await?;
        if let Some(sent) = outgoing.sent {
            // Nobody waits for it any more when the transfer ends.
            let _ = sent.send(());
        }
    }
    tokio::time::timeout(limits.progress, stream.shutdown()).await?
}

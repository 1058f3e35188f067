//! From a stream to an opened lease.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{KvServer, agreed_data_bytes};
use crate::frame::{Frame, FrameReader, PREFILL, ReadError, VERSION, Welcome, write_frame};
use crate::leases::Opened;
use crate::pieces::Cut;
use crate::{KvStore, Reason};

/// How long, and for how many bytes, a refused peer is listened to until it closes.
pub(super) const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 << 20);

impl From<ReadError> for Reason {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Frame(error) => error.reason(),
            ReadError::Io(_) => Self::Disconnected,
            ReadError::Timeout(_) => Self::Timeout,
        }
    }
}

impl<S: KvStore> KvServer<S> {
    /// Hears who the client is, and opens the lease whose handle it shows.
    pub(super) async fn greet(
        &self,
        reader: &mut FrameReader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
        peer_uri: &str,
        token_bytes: usize,
    ) -> Result<(Opened, Cut), Reason> {
        let limit = self.limits.handshake;
        let greeting = async {
            let Frame::Hello(hello) = reader.next().await? else { return Err(Reason::Protocol) };
            if self.client_uris.iter().all(|known| known != peer_uri) {
                tracing::warn!(peer = peer_uri, expected = ?self.client_uris, "KV peer is someone else");
                return Err(Reason::Identity);
            }
            if hello.role != PREFILL {
                return Err(Reason::Role);
            }
            if let Some(reason) = self.fingerprint.difference(&hello.fingerprint) {
                tracing::warn!(%reason, theirs = ?hello.fingerprint, ours = ?self.fingerprint, "KV peer differs");
                return Err(reason);
            }
            let data_bytes =
                agreed_data_bytes(self.limits.data_bytes, hello.data_bytes, &self.fingerprint, token_bytes);
            let welcome = Frame::Welcome(Welcome { version: VERSION, data_bytes });
            write_frame(writer, &welcome, limit).await.map_err(|_| Reason::Disconnected)?;
            let Frame::Open(handle) = reader.next().await? else { return Err(Reason::Protocol) };
            let lease = self.leases.open(&handle, peer_uri)?;
            let (history, end) = (lease.grant().history as u32, lease.grant().end as u32);
            write_frame(writer, &Frame::Opened { history, end }, limit)
                .await
                .map_err(|_| Reason::Disconnected)?;
            let cut = Cut {
                block_tokens: self.fingerprint.block_tokens as usize,
                token_bytes,
                data_bytes: data_bytes as usize,
            };
            Ok((lease, cut))
        };
        tokio::time::timeout(limit, greeting).await.unwrap_or(Err(Reason::Timeout))
    }

    /// Tells the peer why nothing comes of it.
    pub(super) async fn refuse(
        &self,
        reader: FrameReader<impl AsyncRead + Unpin>,
        mut writer: impl AsyncWrite + Unpin,
        reason: Reason,
    ) {
        tracing::warn!(%reason, "KV transfer refused");
        self.observer.refused(reason);
        if reason == Reason::Disconnected {
            return;
        }
        let told = write_frame(&mut writer, &Frame::Error(reason), self.limits.handshake).await;
        if told.is_ok() && tokio::time::timeout(self.limits.handshake, writer.shutdown()).await.is_ok() {
            reader.linger(LINGER.0, LINGER.1).await;
        }
    }
}

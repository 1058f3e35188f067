//! From an address and a handle to an open transfer.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{KvClient, Transfer};
use crate::frame::{Frame, FrameError, FrameReader, Hello, PREFILL, ReadError, VERSION, write_frame};
use crate::pieces::Cut;
use crate::server::agreed_data_bytes;
use crate::tls::{SERVER_NAME, peer_uri};
use crate::{Handle, KvError};

impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Frame(error) => Self::Frame(error),
            ReadError::Io(error) => error.into(),
            ReadError::Timeout(limit) => Self::Timeout { what: "hearing from the owner", limit },
        }
    }
}

impl KvClient {
    /// Connects to the owner at `address` (`host:port`), whose certificate must have the SAN URI `owner_uri`, and opens
    /// the lease.
    ///
    /// # Errors
    /// When the owner cannot be reached, is someone else, or refuses.
    pub async fn open(&self, address: &str, owner_uri: &str, handle: &Handle) -> Result<Transfer, KvError> {
        let stream = tokio::select! {
            () = self.shutdown.cancelled() => return Err(KvError::ShuttingDown),
            stream = self.connect(address) => stream?,
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let got = peer_uri(certificates).unwrap_or_else(|error| error.to_string());
        if got != owner_uri {
            return Err(KvError::Identity { expected: owner_uri.to_owned(), got });
        }
        self.open_stream(stream, handle).await
    }

    async fn connect(&self, address: &str) -> Result<TlsStream<TcpStream>, KvError> {
        let unreachable = |source| KvError::Connect { address: address.to_owned(), source: Arc::new(source) };
        let connecting = TcpStream::connect(address);
        let stream = within(self.limits.connect, "connecting", connecting).await?.map_err(unreachable)?;
        // Requests are small and wanted at once. The call fails only on a socket that is gone already.
        let _ = stream.set_nodelay(true);
        let name =
            ServerName::try_from(SERVER_NAME).map_err(|error| unreachable(std::io::Error::other(error)))?;
        let securing = TlsConnector::from(self.tls.clone()).connect(name, stream);
        within(self.limits.handshake, "the TLS handshake", securing).await?.map_err(unreachable)
    }

    /// Opens a lease over a stream to an owner that is known to be the right one.
    ///
    /// # Errors
    /// When the owner refuses or does not answer.
    pub async fn open_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        handle: &Handle,
    ) -> Result<Transfer, KvError> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reader, self.limits.handshake);
        let greeting = self.greet(&mut reader, &mut writer, handle);
        let greeted = within(self.limits.handshake, "opening the transfer", greeting);
        let (range, cut) = tokio::select! {
            () = self.shutdown.cancelled() => return Err(KvError::ShuttingDown),
            greeted = greeted => greeted??,
        };
        reader.limit = self.limits.progress;
        reader.max_data = cut.data_bytes as u32;
        Ok(Transfer::start(self, reader, writer, range, cut))
    }

    async fn greet(
        &self,
        reader: &mut FrameReader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
        handle: &Handle,
    ) -> Result<(std::ops::Range<usize>, Cut), KvError> {
        let limit = self.limits.handshake;
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            role: PREFILL,
            fingerprint: self.fingerprint,
            data_bytes: self.limits.data_bytes,
        };
        write_frame(writer, &Frame::Hello(hello), limit).await?;
        let theirs = match reader.next().await? {
            Frame::Welcome(welcome) => welcome.data_bytes,
            other => return Err(unexpected(&other)),
        };
        write_frame(writer, &Frame::Open(*handle), limit).await?;
        let range = match reader.next().await? {
            Frame::Opened { history, end } => history as usize..end as usize,
            other => return Err(unexpected(&other)),
        };
        let (ours, fingerprint) = (self.limits.data_bytes, &self.fingerprint);
        let data_bytes = agreed_data_bytes(ours, theirs, fingerprint, self.token_bytes) as usize;
        let block_tokens = fingerprint.block_tokens as usize;
        Ok((range, Cut { block_tokens, token_bytes: self.token_bytes, data_bytes }))
    }
}

/// What a frame in the wrong place means.
pub(super) fn unexpected(frame: &Frame) -> KvError {
    match frame {
        Frame::Error(reason) => KvError::Refused(*reason),
        other => KvError::Frame(FrameError::Unexpected(other.name())),
    }
}

async fn within<T>(limit: Duration, what: &'static str, work: impl Future<Output = T>) -> Result<T, KvError> {
    tokio::time::timeout(limit, work).await.map_err(|_| KvError::Timeout { what, limit })
}

//! A connection that gives up on peers that neither begin nor take anything, and ends so that its last answer arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How every HTTP/2 connection begins. A server that speaks both versions waits, without a limit of its own, until it
/// knows whether the first bytes are these.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection is read on after its end. Closing one with unread bytes resets it, and a reset can overtake the
/// answer: a client that still sends a body that was refused would never learn why.
const LINGER: Duration = Duration::from_secs(2);

/// Fails reads when the first bytes do not tell the protocol within a time, and writes when the peer takes nothing for a
/// time.
pub(super) struct Timed<S> {
    stream: S,
    /// Runs until the protocol is known.
    opening: Option<Pin<Box<Sleep>>>,
    /// Bytes read that equal the start of [`PREFACE`].
    matched: usize,
    write_timeout: Duration,
    /// Runs while a write waits.
    writing: Option<Pin<Box<Sleep>>>,
    /// Runs from the end of writing.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, opening: Duration, write_timeout: Duration) -> Self {
        let opening = Some(Box::pin(sleep_until(Instant::now() + opening)));
        Self { stream, opening, matched: 0, write_timeout, writing: None, lingering: None }
    }

    fn note_read(&mut self, read: &[u8]) {
        if self.opening.is_none() {
            return;
        }
        let expected = &PREFACE[self.matched..];
        let length = read.len().min(expected.len());
        self.matched += length;
        if read[..length] != expected[..length] || self.matched == PREFACE.len() {
            self.opening = None;
        }
    }

    /// Watches over one kind of write.
    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let timeout = self.write_timeout;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                let read = &buffer.filled()[before..];
                self.note_read(read);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match &mut self.opening {
                Some(timer) => {
                    ready!(timer.as_mut().poll(context));
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")))
                }
                None => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// Throws away what the peer still sends, until it has ended too or the time is over.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut bytes = [0; 4096];
        loop {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, data);
        self.written(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let result = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.written(context, result))?;
        }
        self.linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

//! One JSON object a line, over a stream of byte chunks.

use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::Serialize;

type Chunks<E> = Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>;

/// Why lines cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LineError<E: std::error::Error + 'static> {
    /// The stream failed.
    #[error("the stream failed")]
    Stream(#[source] E),
    /// A line grew beyond the limit.
    #[error("a line exceeds {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The stream ended within a line.
    #[error("the stream ended within a line")]
    Truncated,
}

/// Splits a stream of chunks into lines of bounded length, without their ends. Empty lines are left out.
pub struct Lines<E> {
    chunks: Chunks<E>,
    buffer: BytesMut,
    /// Bytes at the buffer's start that hold no line end.
    scanned: usize,
    limit: usize,
}

impl<E> std::fmt::Debug for Lines<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lines").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl<E: std::error::Error + 'static> Lines<E> {
    /// Lines of at most `limit` bytes.
    pub fn new(chunks: impl Stream<Item = Result<Bytes, E>> + Send + 'static, limit: usize) -> Self {
        Self { chunks: Box::pin(chunks), buffer: BytesMut::new(), scanned: 0, limit }
    }

    /// The next line; `None` at the stream's end. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the stream fails or ends within a line, or a line is too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LineError<E>> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + at).freeze();
                self.buffer.advance(1);
                self.scanned = 0;
                if line.len() > self.limit {
                    return Err(LineError::TooLong { limit: self.limit });
                }
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.limit {
                return Err(LineError::TooLong { limit: self.limit });
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(LineError::Stream(error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(LineError::Truncated),
            }
        }
    }
}

/// Writes one event as a line, its end included.
///
/// # Errors
/// When the value cannot be written as JSON (a map with keys that are no strings, say); events always can.
pub fn to_line(event: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[Vec<u8>], limit: usize) -> Result<Vec<Vec<u8>>, LineError<Infallible>> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from(chunk.clone()))).collect();
        let mut lines = Lines::new(futures::stream::iter(chunks), limit);
        futures::executor::block_on(async {
            let mut all = Vec::new();
            while let Some(line) = lines.next().await? {
                all.push(line.to_vec());
            }
            Ok(all)
        })
    }

    #[test]
    fn bounds_and_ends_are_kept() {
        assert!(matches!(lines(&[vec![b'x'; 11]], 10), Err(LineError::TooLong { limit: 10 })));
        assert!(matches!(lines(&[b"0123456789a\n".to_vec()], 10), Err(LineError::TooLong { limit: 10 })));
        assert!(matches!(lines(&[b"{}\n{".to_vec()], 10), Err(LineError::Truncated)));
        assert_eq!(lines(&[b"\n\n{}\n\n".to_vec()], 10).unwrap(), [b"{}"]);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "[a\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..8)) {
            let text = format!("{text}\n").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let chunks: Vec<Vec<u8>> = cuts.windows(2).map(|pair| text[pair[0]..pair[1]].to_vec()).collect();
            let expected: Vec<Vec<u8>> =
                text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines(&chunks, 100).unwrap(), expected);
        }
    }
}

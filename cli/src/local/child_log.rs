//! What a child writes: a file of bounded size, and the last of it at hand for when the child fails.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Size at which a file is put aside, bytes; one older file is kept.
const MAX_FILE: u64 = 8 << 20;
/// What is at hand, bytes.
const TAIL: usize = 4096;

/// The log of one child, over all its restarts.
#[derive(Debug, Clone)]
pub(crate) struct ChildLog {
    path: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    written: u64,
    tail: VecDeque<u8>,
}

impl ChildLog {
    /// Starts the file at `path`.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let inner = Inner { file: File::create(&path)?, written: 0, tail: VecDeque::with_capacity(TAIL) };
        Ok(Self { path, inner: Arc::new(Mutex::new(inner)) })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The last whole lines, at most `lines`.
    pub(crate) fn last_lines(&self, lines: usize) -> String {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(inner.tail.make_contiguous()).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Takes in all of `source`. A disk that is full does not stop the child: what cannot be written is dropped.
    pub(crate) async fn collect(self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = [0; 8192];
        while let Ok(read @ 1..) = source.read(&mut buffer).await {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.keep(&buffer[..read]);
            let _ = inner.write(&self.path, &buffer[..read]);
        }
    }
}

impl Inner {
    fn keep(&mut self, bytes: &[u8]) {
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL).min(self.tail.len());
        self.tail.drain(..excess);
        self.tail.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.written >= MAX_FILE {
            std::fs::rename(path, path.with_extension("log.old"))?;
            self.file = File::create(path)?;
            self.written = 0;
        }
        self.written += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_stay_small_and_the_end_is_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        let log = ChildLog::create(folder.path().join("decode-0.log")).unwrap();
        let mut text = vec![b'x'; (MAX_FILE + MAX_FILE / 2) as usize];
        text.extend_from_slice(b"\nfirst\nsecond\n\xfflast\n");
        log.clone().collect(text.as_slice()).await;
        assert_eq!(log.last_lines(2), "second\n\u{fffd}last");
        let size = |name| std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("decode-0.log") < MAX_FILE);
        assert_eq!(size("decode-0.log") + size("decode-0.log.old"), text.len() as u64);
    }
}

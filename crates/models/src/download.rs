//! One file: what is here of it, the rest, and whether it is what it should be.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::time::timeout;

use crate::client::{Answer, Asked, Hub, host, text};
use crate::digest::{Digests, Hasher};
use crate::error::FetchError;
use crate::remote::Remote;
use crate::report::{Note, Progress, Report};
use crate::retry::{Failure, Patience};
use crate::space;

/// How often a file that arrives damaged is fetched.
const TRIES: u32 = 3;
/// A try that brings so many bytes counts as the first.
const PROGRESS: u64 = 1 << 20;
/// Bytes that are read or written at once.
const PIECE: usize = 1 << 20;

/// A download's place in the whole.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    /// Bytes of the files before it.
    pub(crate) before: u64,
    /// Bytes of all files.
    pub(crate) of: u64,
    pub(crate) report: &'a dyn Report,
}

/// Completes the file `path`: when it is done the file has the size and hash that the hub tells.
pub(crate) async fn download(
    hub: &Hub,
    remote: &Remote,
    path: &Path,
    share: Share<'_>,
) -> Result<Digests, FetchError> {
    let mut patience = Patience::new(&hub.settings, share.report);
    let mut partial = Partial::open(path, remote).await?;
    let mut tries = 0;
    loop {
        let before = partial.len;
        if before < remote.size
            && let Err(failure) = rest(hub, remote, &mut partial, share).await
        {
            partial.file.flush().await.map_err(|error| partial.write_error(error, remote))?;
            if partial.len >= before.saturating_add(PROGRESS) {
                patience.progressed();
            }
            patience.after(failure).await?;
            continue;
        }
        partial.file.flush().await.map_err(|error| partial.write_error(error, remote))?;
        let found = partial.hasher.clone().finish();
        let Some(what) = remote.promise().broken_by(&found) else {
            partial.file.get_ref().sync_all().await.map_err(|error| partial.write_error(error, remote))?;
            share.report.say(&Note::Checked { file: &remote.name, size: remote.size });
            return Ok(found);
        };
        tries += 1;
        partial.restart(remote).await?;
        if tries == TRIES {
            crate::place::remove(path)?;
            return Err(FetchError::Damaged { file: remote.name.clone(), tries, what });
        }
        share.report.say(&Note::Anew { file: &remote.name, why: &what });
    }
}

/// What is here of a file.
struct Partial {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
    hasher: Hasher,
}

impl Partial {
    async fn open(path: &Path, remote: &Remote) -> Result<Self, FetchError> {
        let mut options = File::options();
        let options = options.read(true).append(true).create(true);
        let mut file = options.open(path).await.map_err(FetchError::file("make", path))?;
        let (hasher, len) = hash(&mut file, remote.size).await.map_err(FetchError::file("read", path))?;
        let mut partial =
            Self { path: path.into(), file: BufWriter::with_capacity(PIECE, file), len, hasher };
        if len > remote.size {
            partial.restart(remote).await?;
        }
        Ok(partial)
    }

    /// Throws away what is here.
    async fn restart(&mut self, remote: &Remote) -> Result<(), FetchError> {
        let emptied = async {
            self.file.flush().await?;
            self.file.get_ref().set_len(0).await
        };
        emptied.await.map_err(FetchError::file("write", &self.path))?;
        (self.len, self.hasher) = (0, Hasher::new(remote.size));
        Ok(())
    }

    async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn write_error(&self, source: io::Error, remote: &Remote) -> FetchError {
        if !space::is_full(&source) {
            return FetchError::file("write", &self.path)(source);
        }
        let folder = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        let written = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        let free = space::free(&folder).unwrap_or(0);
        FetchError::NoSpace { folder, needed: remote.size.saturating_sub(written), free }
    }
}

/// The hash of a file's content, to go on with, and its length.
pub(crate) async fn hash(file: &mut File, size: u64) -> io::Result<(Hasher, u64)> {
    let (mut hasher, mut len) = (Hasher::new(size), 0);
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).await? {
            0 => return Ok((hasher, len)),
            read => {
                hasher.update(&piece[..read]);
                len += read as u64;
            }
        }
    }
}

/// One try to get what is missing.
async fn rest(hub: &Hub, remote: &Remote, partial: &mut Partial, share: Share<'_>) -> Result<(), Failure> {
    let asked = Asked::Content(&remote.path, partial.len);
    let Answer { mut response, etag, .. } = hub.ask(remote.url.clone(), asked).await?;
    let anew = |why| Note::Anew { file: &remote.name, why };
    if partial.len > 0 && !goes_on(&response, partial.len, remote.size) {
        share.report.say(&anew("the server does not go on where it was broken off"));
        partial.restart(remote).await?;
    }
    if etag.is_some() && etag != remote.etag {
        partial.restart(remote).await?;
        let what = "gives another file than it described a moment ago".to_owned();
        return Err(Failure::passing(FetchError::Answer { host: host(&remote.url), what }));
    }
    let url = response.url().clone();
    loop {
        let chunk = match timeout(hub.settings.silence, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) if partial.len == remote.size => return Ok(()),
            // A connection that ends early is an error or an end, as the server's framing has it.
            Ok(Ok(None) | Err(_)) => {
                let (file, got) = (remote.name.clone(), partial.len);
                return Err(Failure::passing(FetchError::Cut { file, got, size: remote.size }));
            }
            Err(_) => return Err(hub.silent(&url)),
        };
        if partial.len + chunk.len() as u64 > remote.size {
            partial.restart(remote).await?;
            let what = format!("sends more than the {} bytes of {}", remote.size, remote.name);
            return Err(Failure::passing(FetchError::Answer { host: host(&url), what }));
        }
        partial.push(&chunk).await.map_err(|error| partial.write_error(error, remote))?;
        let bytes = share.before + partial.len;
        share.report.moved(Progress { file: &remote.name, bytes, of: share.of });
    }
}

/// Whether an answer is the rest of a file from byte `from` on. Otherwise it is taken as the whole file.
fn goes_on(response: &Response, from: u64, size: u64) -> bool {
    let range = text(response.headers(), CONTENT_RANGE.as_str());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range == format!("bytes {from}-{}/{size}", size - 1))
}

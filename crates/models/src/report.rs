//! What is told meanwhile.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use ampd_telemetry::chain;

use crate::error::FetchError;

/// Longest time without a line on a download that goes on.
const EVERY: Duration = Duration::from_secs(5);
/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens to what happens.
pub trait Report: Send + Sync {
    /// Something happened.
    fn say(&self, note: &Note<'_>);
    /// Bytes arrived. This comes often: [`Pace`] tells when a line is due.
    fn moved(&self, progress: Progress<'_>);
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note<'a> {
    /// A download begins or goes on.
    Started {
        /// How many files there are.
        files: usize,
        /// Bytes of all of them.
        of: u64,
        /// Bytes that were here already.
        here: u64,
    },
    /// A file is complete and what the hub says it is.
    Checked {
        /// The file.
        file: &'a str,
        /// Its bytes.
        size: u64,
    },
    /// A try failed and another follows.
    Again {
        /// Why it failed.
        error: &'a FetchError,
        /// When the next one comes.
        pause: Duration,
    },
    /// What was here of a file is of no use.
    Anew {
        /// The file.
        file: &'a str,
        /// Why.
        why: &'a str,
    },
    /// Another process works on the folder.
    Waiting {
        /// The folder.
        folder: &'a Path,
        /// How long so far.
        waited: Duration,
        /// How long at most.
        of: Duration,
    },
    /// The hub cannot be asked, and the complete copy that is here is taken.
    Kept {
        /// The commit that is here.
        commit: &'a str,
        /// Why the hub cannot be asked.
        error: &'a FetchError,
    },
}

impl Note<'_> {
    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Again { .. } | Self::Anew { .. } | Self::Kept { .. })
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { files, of, here: 0 } => write!(f, "fetching {files} files, {}", Bytes(*of)),
            Self::Started { files, of, here } => {
                write!(f, "fetching {files} files, {}, of which {} are here", Bytes(*of), Bytes(*here))
            }
            Self::Checked { file, size } => write!(f, "{file} is complete and checked, {}", Bytes(*size)),
            Self::Again { error, pause } => {
                write!(f, "trying again in {:.1} s: {}", pause.as_secs_f64(), chain(error))
            }
            Self::Anew { file, why } => write!(f, "{file} is fetched anew: {why}"),
            Self::Waiting { folder, waited, of } => write!(
                f,
                "another process works on {}; waiting for it, {} s of at most {} s",
                folder.display(),
                waited.as_secs(),
                of.as_secs()
            ),
            Self::Kept { commit, error } => {
                write!(
                    f,
                    "the hub cannot be asked, so the complete copy of commit {commit} is used: {}",
                    chain(error)
                )
            }
        }
    }
}

/// How far the whole download is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file that is on its way.
    pub file: &'a str,
    /// Bytes of all files that are here.
    pub bytes: u64,
    /// Bytes of all files.
    pub of: u64,
}

/// Tells when a line about progress is due: where nobody sees a bar, one every few seconds will do.
#[derive(Debug, Default)]
pub struct Pace {
    first: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
}

/// A line about progress.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Bytes a second since the last line.
    pub rate: f64,
    /// Time left at the speed so far.
    pub left: Option<Duration>,
}

impl Pace {
    /// The line that is due at `now`: after 5 s, or after 5 % if the last one is not of this very second.
    pub fn look(&mut self, now: Instant, progress: Progress<'_>) -> Option<Line> {
        let (start, start_bytes) = *self.first.get_or_insert((now, progress.bytes));
        let (last, last_bytes) = *self.last.get_or_insert((now, progress.bytes));
        let (passed, moved) = (now - last, progress.bytes.saturating_sub(last_bytes));
        if passed < EVERY && (passed < PAUSE || moved.saturating_mul(20) < progress.of) {
            return None;
        }
        self.last = Some((now, progress.bytes));
        let mean = progress.bytes.saturating_sub(start_bytes) as f64 / (now - start).as_secs_f64();
        let left = Duration::try_from_secs_f64(progress.of.saturating_sub(progress.bytes) as f64 / mean);
        Some(Line { rate: moved as f64 / passed.as_secs_f64(), left: left.ok() })
    }
}

/// A number of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ ..1_000_000 => write!(f, "{bytes} bytes"),
            bytes => write!(f, "{:.1} MB", bytes as f64 / 1e6),
        }
    }
}

#[cfg(test)]
pub(crate) struct Silent;

#[cfg(test)]
impl Report for Silent {
    fn say(&self, _: &Note<'_>) {}
    fn moved(&self, _: Progress<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_after_five_seconds_or_five_percent() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut at = |seconds: f64, bytes| {
            let progress = Progress { file: "f", bytes, of: 1000 };
            pace.look(start + Duration::from_secs_f64(seconds), progress)
        };
        assert_eq!(at(0.0, 100), None);
        assert_eq!(at(0.5, 200), None, "the last one is of this second");
        assert_eq!(at(2.0, 140), None);
        assert_eq!(at(2.0, 150), Some(Line { rate: 25.0, left: Some(Duration::from_secs(34)) }));
        assert_eq!(at(6.9, 151), None);
        let line = at(7.0, 150).unwrap();
        assert_eq!(line.rate, 0.0);
    }
}

//! A whole model.

use std::path::{Path, PathBuf};

use tokio::fs::File;

use crate::client::Hub;
use crate::download::{Share, download, hash};
use crate::error::FetchError;
use crate::listing::Listing;
use crate::lock::lock;
use crate::place::{Place, remove};
use crate::record::{Entry, Record};
use crate::remote::Remote;
use crate::report::{Note, Report};
use crate::retry::{Patience, patiently};
use crate::selection::{Selection, is_gguf, select};
use crate::settings::Settings;
use crate::space;
use crate::wanted::Wanted;

/// Tries to reach the hub when there is a copy that will do without it.
const ATTEMPTS_WITH_COPY: u32 = 2;

/// A model that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What to load: the `.gguf` file, or the folder.
    pub path: PathBuf,
    /// The commit.
    pub commit: String,
}

/// Makes `folder` hold exactly the model `wanted`, and returns at once where it does. Others may do the same with the same
/// folder at the same time.
///
/// When the future is dropped, what has arrived stays for the next call.
///
/// # Errors
/// When the model cannot be had; the error says what to do.
pub async fn fetch(
    wanted: &Wanted,
    folder: &Path,
    settings: &Settings,
    report: &dyn Report,
) -> Result<Fetched, FetchError> {
    let place = Place { folder: folder.into() };
    let copy =
        place.complete().filter(|record| record.answers(wanted)).map(|record| fetched(&place, &record));
    if let Some(copy) = copy.as_ref().filter(|_| wanted.is_commit()) {
        return Ok(copy.clone());
    }
    let snapshots = settings.snapshots.as_ref();
    let copy = copy.or_else(|| {
        let (commit, path) = snapshots?.last(wanted)?;
        Some(Fetched { path, commit })
    });
    let mut settings = settings.clone();
    if copy.is_some() {
        settings.attempts = settings.attempts.min(ATTEMPTS_WITH_COPY);
    }
    let hub = Hub::new(wanted.clone(), settings)?;
    let listing = patiently(Patience::new(&hub.settings, report), || hub.list()).await;
    let listing = match (listing, copy) {
        (Ok(listing), _) => listing,
        (Err(error), Some(copy)) if error.is_passing() => {
            report.say(&Note::Kept { commit: &copy.commit, error: &error });
            return Ok(copy);
        }
        (Err(error), _) => return Err(error),
    };
    let selection = choose(wanted, &listing)?;
    if let Some(path) =
        hub.settings.snapshots.as_ref().and_then(|found| found.find(&listing.commit, &selection))
    {
        return Ok(Fetched { path, commit: listing.commit });
    }
    if let Some(record) = up_to_date(&place, wanted, &listing) {
        return Ok(fetched(&place, &record));
    }
    std::fs::create_dir_all(folder).map_err(FetchError::file("make", folder))?;
    let _lock = lock(folder, &place.lock_path(), hub.settings.lock_wait, report).await?;
    // Whoever had the lock before may have done it.
    let record = match up_to_date(&place, wanted, &listing) {
        Some(record) => record,
        None => fill(&hub, &place, &listing.commit, &selection, report).await?,
    };
    Ok(fetched(&place, &record))
}

fn up_to_date(place: &Place, wanted: &Wanted, listing: &Listing) -> Option<Record> {
    place.complete().filter(|record| record.is_of(wanted) && record.commit == listing.commit)
}

fn fetched(place: &Place, record: &Record) -> Fetched {
    let path = match record.files.as_slice() {
        [file] if is_gguf(&file.name) => place.folder.join(&file.name),
        _ => place.folder.clone(),
    };
    Fetched { path, commit: record.commit.clone() }
}

fn choose(wanted: &Wanted, listing: &Listing) -> Result<Selection, FetchError> {
    select(&listing.names, wanted.file.as_deref()).map_err(|source| FetchError::Select {
        repository: wanted.repository.clone(),
        revision: wanted.revision.clone(),
        source,
    })
}

/// A file of the model and where it is.
struct Part {
    remote: Remote,
    partial: PathBuf,
    /// Its hash, where it is in its place already.
    in_place: Option<String>,
    /// Bytes that are here.
    here: u64,
}

/// Fetches what is missing, and gives the files their names when all of them are there.
async fn fill(
    hub: &Hub,
    place: &Place,
    commit: &str,
    selection: &Selection,
    report: &dyn Report,
) -> Result<Record, FetchError> {
    let mut remotes = Vec::new();
    for name in selection.names() {
        let patience = Patience::new(&hub.settings, report);
        remotes.push(patiently(patience, || hub.describe(commit, name)).await?);
    }
    let old = place.record();
    let foreign = place.foreign(&remotes, old.as_ref())?;
    if !foreign.is_empty() {
        return Err(FetchError::Foreign { folder: place.folder.clone(), files: foreign });
    }
    let mut parts = Vec::new();
    for remote in remotes {
        parts.push(Part::find(place, remote).await?);
    }
    let keep: Vec<PathBuf> = parts.iter().map(|part| part.partial.clone()).collect();
    place.clear(&keep)?;
    let of: u64 = parts.iter().map(|part| part.remote.size).sum();
    let here: u64 = parts.iter().map(|part| part.here).sum();
    space::check(&place.folder, of - here)?;
    report.say(&Note::Started { files: parts.len(), of, here });
    let (mut before, mut entries) = (0, Vec::new());
    for part in &parts {
        let sha256 = if let Some(sha256) = &part.in_place {
            sha256.clone()
        } else {
            let share = Share { before, of, report };
            download(hub, &part.remote, &part.partial, share).await?.sha256
        };
        before += part.remote.size;
        entries.push(Entry { name: part.remote.name.clone(), size: part.remote.size, sha256 });
    }
    settle(place, &parts, old, Record::new(&hub.wanted, commit, entries))
}

impl Part {
    async fn find(place: &Place, remote: Remote) -> Result<Self, FetchError> {
        let path = place.folder.join(&remote.name);
        let in_place = match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() == remote.size => {
                let read = async { hash(&mut File::open(&path).await?, remote.size).await };
                let (hasher, _) = read.await.map_err(FetchError::file("read", &path))?;
                let found = hasher.finish();
                let checked = remote.promise().is_checkable() && remote.promise().broken_by(&found).is_none();
                checked.then_some(found.sha256)
            }
            _ => None,
        };
        let partial = place.partial(&remote);
        let here = match &in_place {
            Some(_) => remote.size,
            None => std::fs::metadata(&partial).map_or(0, |found| found.len().min(remote.size)),
        };
        Ok(Self { remote, partial, in_place, here })
    }
}

/// Gives the complete files their names. A process that ends in between leaves a record that is not complete and names all
/// files, so that the next one knows them as its own.
fn settle(place: &Place, parts: &[Part], old: Option<Record>, record: Record) -> Result<Record, FetchError> {
    let is_new = |entry: &Entry| record.files.iter().any(|new| new.name == entry.name);
    let stale: Vec<Entry> =
        old.into_iter().flat_map(|old| old.files).filter(|entry| !is_new(entry)).collect();
    place.write(&record.unfinished(&stale))?;
    for entry in &stale {
        remove(&place.folder.join(&entry.name))?;
    }
    for part in parts.iter().filter(|part| part.in_place.is_none()) {
        let to = place.folder.join(&part.remote.name);
        std::fs::rename(&part.partial, &to).map_err(FetchError::file("write", &to))?;
    }
    place.sync().map_err(FetchError::file("write", &place.folder))?;
    place.write(&record)?;
    Ok(record)
}

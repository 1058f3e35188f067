//! The cache of what tasks install: folders named for what they were made from, so that a stale one is never used.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

/// Part of the folders' names; another number when what makes a folder whole changes.
const LAYOUT: u32 = 2;
/// The file that marks a folder as whole.
const WHOLE: &str = "complete";
/// How long a folder that is not used any more is kept: another task may be at work with it.
const KEPT: Duration = Duration::from_hours(24);

/// The folder that `AMPD_CACHE` names, or `~/.cache/ampd`; a variable that is empty counts as not set.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = from("AMPD_CACHE").or_else(|| Some(from("HOME")?.join(".cache/ampd")));
    root.context("HOME is not set, and neither is AMPD_CACHE")
}

/// The folder `{name}-{key of source}`, filled by `make` when it is not there or not whole. Tasks that run at once wait
/// for each other; one that was interrupted leaves a folder that the next one makes anew.
pub(crate) fn folder(
    name: &str,
    source: &[u8],
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    folder_in(&root()?, name, source, make)
}

/// Removes folders of the same name that were made from something else and have not been made or marked for a day;
/// `place` itself is marked as in use.
pub(crate) fn forget_others(place: &Path) -> anyhow::Result<()> {
    std::fs::write(place.join(WHOLE), "")?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let (prefix, _) = name.rsplit_once('-').context("a folder without a key")?;
    for entry in std::fs::read_dir(place.parent().unwrap_or(place))?.filter_map(Result::ok) {
        let other = entry.path();
        let found = entry.file_name().to_string_lossy().into_owned();
        let same = found.rsplit_once('-').is_some_and(|(found, _)| found == prefix) && other != place;
        let marked = std::fs::metadata(other.join(WHOLE)).and_then(|file| file.modified());
        let old = marked.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
        if same && old {
            std::fs::remove_dir_all(&other).with_context(|| format!("cannot remove {}", other.display()))?;
        }
    }
    Ok(())
}

fn folder_in(
    root: &Path,
    name: &str,
    source: &[u8],
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (LAYOUT, source).hash(&mut hasher);
    let place = root.join(format!("{name}-{:016x}", hasher.finish()));
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let lock = place.with_extension("lock");
    let lock_error = || format!("cannot lock {}", lock.display());
    let held = File::create(&lock).with_context(lock_error)?;
    held.lock().with_context(lock_error)?;
    if !place.join(WHOLE).is_file() {
        if place.exists() {
            std::fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        }
        std::fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        make(&place)?;
        std::fs::write(place.join(WHOLE), "")?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_by_many_and_anew_when_it_is_not_whole() {
        let root = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicUsize::new(0);
        let make = |place: &Path| {
            made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::fs::create_dir(place.join("part"))?;
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| folder_in(root.path(), "x", b"source", make).unwrap());
            }
        });
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 1);
        let place = folder_in(root.path(), "x", b"source", make).unwrap();
        std::fs::remove_file(place.join(WHOLE)).unwrap();
        assert_eq!(folder_in(root.path(), "x", b"source", make).unwrap(), place);
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert_ne!(folder_in(root.path(), "x", b"another", make).unwrap(), place);
        assert!(folder_in(root.path(), "y", b"", |_| anyhow::bail!("no")).is_err());
    }

    #[test]
    fn only_old_folders_of_the_same_name_are_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let make = |name, source: &[u8]| folder_in(root.path(), name, source, |_| Ok(())).unwrap();
        let (used, fresh, old, other) =
            (make("x", b"1"), make("x", b"2"), make("x", b"3"), make("x-y", b"4"));
        let past = std::time::SystemTime::now() - KEPT * 2;
        for place in [&used, &old, &other] {
            File::options().write(true).open(place.join(WHOLE)).unwrap().set_modified(past).unwrap();
        }
        forget_others(&used).unwrap();
        assert_eq!([&used, &fresh, &old, &other].map(|place| place.exists()), [true, true, false, true]);
        // It counts as used now.
        forget_others(&fresh).unwrap();
        assert!(used.exists());
    }
}

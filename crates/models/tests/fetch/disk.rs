//! A full disk, for which a small file system of its own is mounted.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Scene, WEIGHTS};
use ampd_models::FetchError;
use ampd_testkit::fake_hub::Faults;

/// A file system in memory.
struct Small(tempfile::TempDir);

impl Small {
    /// `None` where this may not be done, which only root may.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                eprintln!("skipped: no file system can be mounted here ({other:?})");
                None
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn written(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn what_cannot_fit_is_not_begun() {
    let Some(small) = Small::mount("2m") else { return };
    let scene = Scene::new().await;
    let error = scene.fetch_into("org/whole", &small.folder()).await.unwrap_err();
    assert!(matches!(error, FetchError::NoSpace { needed, free, .. } if needed > free), "{error}");
    let needed = (WEIGHTS + 5002).to_string();
    assert!(error.to_string().contains(&needed) && error.is_passing(), "{error}");
    assert!(scene.bodies().is_empty());
}

#[tokio::test]
async fn a_disk_that_others_fill_ends_it_and_room_lets_it_go_on() {
    let Some(small) = Small::mount("6m") else { return };
    let (scene, folder) = (Scene::new().await, small.folder());
    scene.hub.set(Faults { bytes_per_second: Some(4_000_000), ..Faults::default() });
    let filler = folder.join("filler");
    let fill = async {
        while written(&folder) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        std::fs::write(&filler, vec![1; 4 << 20]).unwrap();
    };
    let (fetched, ()) = tokio::join!(scene.fetch_into("org/whole", &folder), fill);
    let error = fetched.unwrap_err();
    assert!(matches!(error, FetchError::NoSpace { .. }), "{error}");
    std::fs::remove_file(&filler).unwrap();
    scene.hub.set(Faults::default());
    scene.fetch_into("org/whole", &folder).await.unwrap();
}

//! A hub with two small repositories, and what a fetch from it tells.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use ampd_models::{FetchError, Fetched, Note, Progress, Report, Settings, Token, Wanted, endpoint};
use ampd_testkit::fake_hub::{FakeHub, Seen};
use tempfile::TempDir;

/// Bytes of the safetensors file.
pub const WEIGHTS: usize = 3 << 20;
/// Bytes of each GGUF file.
pub const GGUF: usize = 200_000;

/// A hub, a folder to fetch into, and what was told.
pub struct Scene {
    pub hub: FakeHub,
    root: TempDir,
    place: TempDir,
    pub settings: Settings,
    pub told: Told,
}

#[derive(Default)]
pub struct Told {
    notes: Mutex<Vec<String>>,
    moved: Mutex<Vec<(u64, u64)>>,
}

impl Report for Told {
    fn say(&self, note: &Note<'_>) {
        self.notes.lock().unwrap().push(note.to_string());
    }

    fn moved(&self, progress: Progress<'_>) {
        self.moved.lock().unwrap().push((progress.bytes, progress.of));
    }
}

impl Told {
    pub fn text(&self) -> String {
        self.notes.lock().unwrap().join("\n")
    }

    pub fn moved(&self) -> Vec<(u64, u64)> {
        self.moved.lock().unwrap().clone()
    }
}

/// Bytes that repeat nowhere near.
pub fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(len)
    .collect()
}

impl Scene {
    pub async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let hub = FakeHub::start(root.path()).await.unwrap();
        let mut settings = Settings::new(endpoint(&hub.url()).unwrap(), None);
        settings.attempts = 4;
        settings.pause = Duration::from_millis(5);
        settings.silence = Duration::from_secs(10);
        settings.lock_wait = Duration::from_secs(20);
        let place = tempfile::tempdir().unwrap();
        let scene = Self { hub, root, place, settings, told: Told::default() };
        scene.put("org/whole/config.json", b"{}");
        scene.put("org/whole/tokenizer.json", &content(1, 5000));
        scene.put("org/whole/README.md", b"about");
        scene.put("org/whole/model.safetensors", &content(2, WEIGHTS));
        scene.put("org/many-gguf/a.gguf", &content(3, GGUF));
        scene.put("org/many-gguf/q/b.gguf", &content(4, GGUF));
        scene.put("org/many-gguf/c.gguf", &content(5, GGUF));
        scene
    }

    /// Puts a file into a repository.
    pub fn put(&self, path: &str, content: &[u8]) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Takes a file out of a repository.
    pub fn take(&self, path: &str) {
        std::fs::remove_file(self.root.path().join(path)).unwrap();
    }

    pub fn commit(&self, repository: &str) -> String {
        ampd_testkit::fake_hub::commit(&self.root.path().join(repository)).unwrap()
    }

    pub fn token(&mut self, token: &str) {
        self.settings.token = Some(Token::new(token).unwrap());
    }

    pub fn folder(&self) -> PathBuf {
        self.place.path().join("model")
    }

    pub async fn fetch(&self, id: &str) -> Result<Fetched, FetchError> {
        self.fetch_into(id, &self.folder()).await
    }

    /// Fetches `repository[@revision][:file]`.
    pub async fn fetch_into(&self, id: &str, folder: &Path) -> Result<Fetched, FetchError> {
        let (rest, file) = id.split_once(':').map_or((id, None), |(rest, file)| (rest, Some(file)));
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let wanted = Wanted::new(repository, revision, file).unwrap();
        let fetched = ampd_models::fetch(&wanted, folder, &self.settings, &self.told);
        tokio::time::timeout(Duration::from_secs(60), fetched).await.expect("the fetch ends")
    }

    /// The names in the folder, but for the lock, which stays.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".ampd-model.lock");
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(name)).unwrap()
    }

    pub fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&self.read(".ampd-model.json")).unwrap()
    }

    /// Requests for the bodies of large files.
    pub fn bodies(&self) -> Vec<Seen> {
        self.hub.seen().into_iter().filter(|seen| seen.at_store && seen.method == "GET").collect()
    }
}

//! Models from Hugging Face, in the cache that other tools use too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::ProgressBar;

use super::reference::HubModel;

/// Longest silence of the hub, in a download too.
const SILENCE: Duration = Duration::from_mins(1);
/// How often silence is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Files beside the weights that describe a model.
const DESCRIPTION: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// The hub cannot be reached or refuses.
    #[error("the hub gave no answer that can be used")]
    Api(#[from] ApiError),
    /// The hub said nothing.
    #[error("nothing was heard from the hub for {} s", SILENCE.as_secs())]
    Silent,
    /// The download ended unexpectedly.
    #[error("the download was broken off")]
    Broken(#[from] tokio::task::JoinError),
    /// The cache cannot be written.
    #[error("the commit cannot be noted in the cache")]
    Note(#[source] std::io::Error),
    /// The repository holds nothing that can be loaded.
    #[error("it has no safetensors files and {}", if .files.is_empty() { "no .gguf file".to_owned() } else { format!("several .gguf files, name one as organisation/name:FILE ({})", .files.join(", ")) })]
    NoWeights {
        /// Its `.gguf` files.
        files: Vec<String>,
    },
}

/// The folder of a repository, or its one `.gguf` file.
pub(crate) async fn fetch(model: &HubModel) -> Result<PathBuf, HubError> {
    let (start, beat) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let (model, pulse) =
        (model.clone(), Pulse { start, beat: Arc::clone(&beat), bar: ProgressBar::no_length() });
    let mut download = tokio::task::spawn_blocking(move || download(&model, &pulse));
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK, &mut download).await {
            return done?;
        }
        let heard = Duration::from_millis(beat.load(Ordering::Relaxed));
        if start.elapsed().saturating_sub(heard) > SILENCE {
            return Err(HubError::Silent);
        }
    }
}

/// A progress bar that also notes when something last arrived.
#[derive(Clone)]
struct Pulse {
    start: Instant,
    beat: Arc<AtomicU64>,
    bar: ProgressBar,
}

impl Pulse {
    fn beat(&self) {
        self.beat.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

impl Progress for Pulse {
    fn init(&mut self, size: usize, file: &str) {
        self.beat();
        Progress::init(&mut self.bar, size, file);
    }

    fn update(&mut self, size: usize) {
        self.beat();
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        self.beat();
        Progress::finish(&mut self.bar);
    }
}

fn download(model: &HubModel, pulse: &Pulse) -> Result<PathBuf, HubError> {
    let revision = model.revision.clone().unwrap_or_else(|| "main".to_owned());
    let repository = |revision| Repo::with_revision(model.repository.clone(), RepoType::Model, revision);
    let cache = Cache::from_env().repo(repository(revision.clone()));
    let hub = ApiBuilder::from_env().build()?;
    let api = hub.repo(repository(revision));
    if let Some(file) = &model.file {
        return cache.get(file).map_or_else(|| get(&api, file, pulse), Ok);
    }
    let info = match api.info() {
        Ok(info) => info,
        Err(error) => {
            let found = cached(&cache).ok_or(error)?;
            eprintln!("the hub cannot be reached; the copy in the cache is used");
            return Ok(found);
        }
    };
    pulse.beat();
    let wanted = choose(info.siblings.into_iter().map(|file| file.rfilename).collect())?;
    // All files are those of this one commit, whatever the cache has of others and the branch gets meanwhile.
    let (api, snapshot) = (hub.repo(repository(info.sha.clone())), cache.pointer_path(&info.sha));
    for file in &wanted {
        if !snapshot.join(file).exists() {
            get(&api, file, pulse)?;
        }
    }
    cache.create_ref(&info.sha).map_err(HubError::Note)?;
    Ok(place(&snapshot, &wanted))
}

/// What the cache holds of the revision's commit, for when the hub cannot be asked.
fn cached(cache: &CacheRepo) -> Option<PathBuf> {
    // The file without a name is the folder of all.
    let snapshot = cache.get("")?;
    let files = std::fs::read_dir(&snapshot).ok()?;
    let names = files.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    Some(place(&snapshot, &choose(names).ok()?))
}

/// What is loaded of a snapshot: its one `.gguf` file, or the folder.
fn place(snapshot: &Path, wanted: &[String]) -> PathBuf {
    match wanted {
        [file] if Path::new(file).extension().is_some_and(|end| end == "gguf") => snapshot.join(file),
        _ => snapshot.to_owned(),
    }
}

fn get(api: &ApiRepo, file: &str, pulse: &Pulse) -> Result<PathBuf, HubError> {
    eprintln!("downloading {file}");
    let bar = ProgressBar::new(0);
    Ok(api.download_with_progress(file, Pulse { bar, ..pulse.clone() })?)
}

/// The files to load a model from: description and safetensors, or the only `.gguf` file.
fn choose(names: Vec<String>) -> Result<Vec<String>, HubError> {
    let ends = |name: &String, end: &str| name.ends_with(end) && !name.contains('/');
    let weights: Vec<String> = names.iter().filter(|name| ends(name, ".safetensors")).cloned().collect();
    if weights.is_empty() {
        let mut files = names;
        files.retain(|name| ends(name, ".gguf"));
        return if files.len() == 1 { Ok(files) } else { Err(HubError::NoWeights { files }) };
    }
    // Some repositories carry the same weights a second time under another name.
    let usual = |name: &String| name.starts_with("model");
    let has_usual = weights.iter().any(usual);
    let mut wanted: Vec<String> =
        names.into_iter().filter(|name| DESCRIPTION.contains(&name.as_str())).collect();
    wanted.extend(weights.into_iter().filter(|name| !has_usual || usual(name)));
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn weights_are_taken_once_and_nothing_else_but_the_description() {
        let chosen = choose(names(&[
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00001.safetensors",
            "onnx/model.safetensors",
            "tokenizer.json",
        ]));
        assert_eq!(
            chosen.unwrap(),
            names(&["config.json", "tokenizer.json", "model-00001-of-00001.safetensors"])
        );
    }

    #[test]
    fn without_the_hub_the_snapshot_that_the_revision_names_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned()).repo(Repo::model("a/b".into()));
        assert_eq!(cached(&cache), None);
        let put = |commit: &str, file: &str| {
            std::fs::create_dir_all(cache.pointer_path(commit)).unwrap();
            std::fs::write(cache.pointer_path(commit).join(file), "").unwrap();
        };
        put("old", "config.json");
        put("old", "model.safetensors");
        put("new", "only.gguf");
        cache.create_ref("new").unwrap();
        assert_eq!(cached(&cache), Some(cache.pointer_path("new").join("only.gguf")));
        cache.create_ref("old").unwrap();
        assert_eq!(cached(&cache).unwrap(), cache.pointer_path("old").join(""));
    }

    #[test]
    fn one_gguf_file_will_do_and_several_are_listed() {
        assert_eq!(choose(names(&["README.md", "a.gguf"])).unwrap(), names(&["a.gguf"]));
        let error = choose(names(&["a.gguf", "b.gguf"])).unwrap_err().to_string();
        assert!(error.contains("a.gguf, b.gguf"), "{error}");
        assert!(choose(Vec::new()).unwrap_err().to_string().contains("no .gguf file"));
    }
}

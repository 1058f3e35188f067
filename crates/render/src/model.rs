//! How a model comes into a pod.

use ampd_api::resolved::ModelSource;
use ampd_api::service::HuggingFace;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, SecretKeySelector, Volume, VolumeMount};

use crate::container::{self, literal};
use crate::{Input, volumes};

/// The volume's name.
const VOLUME: &str = "model";
/// Where it is mounted.
const FOLDER: &str = "/models";

/// How a model comes into a pod.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Its file or folder, as the containers see it.
    pub(crate) path: String,
    /// The volume that holds it, if it is not in the image.
    pub(crate) volume: Option<Volume>,
    /// The container that fetches it, if it is to be fetched.
    pub(crate) fetch: Option<Container>,
}

impl Delivery {
    /// The place of the volume in the containers that read the model.
    pub(crate) fn mount(&self) -> Option<VolumeMount> {
        self.volume.as_ref().map(|_| volumes::mount(VOLUME, FOLDER, true))
    }
}

/// How the service's model comes into its pods.
pub(crate) fn delivery(input: &Input<'_>) -> Delivery {
    match &input.service.model.source {
        ModelSource::Path(path) => Delivery { path: path.clone(), volume: None, fetch: None },
        ModelSource::PersistentVolumeClaim { claim_name, path } => Delivery {
            path: format!("{FOLDER}/{}", path.trim_start_matches('/')),
            volume: Some(volumes::claim(VOLUME, claim_name, true)),
            fetch: None,
        },
        ModelSource::HuggingFace { repo, revision, file } => {
            let path = folder(repo, revision, file.as_deref());
            let cache = &input.resource.spec.model.cache;
            let volume = match &cache.claim_name {
                Some(claim) => volumes::claim(VOLUME, claim, false),
                None => volumes::empty(VOLUME, cache.size_limit.as_deref()),
            };
            let fetch = fetch(input, &path);
            Delivery { path, volume: Some(volume), fetch: Some(fetch) }
        }
    }
}

/// One folder for each choice of files, so that services can share a volume.
fn folder(repo: &str, revision: &str, file: Option<&str>) -> String {
    let plain = |text: &str| text.replace('/', "--");
    let file = file.map(|file| format!("/{}", plain(file.trim_end_matches(".gguf")))).unwrap_or_default();
    format!("{FOLDER}/{}/{}{file}", plain(repo), plain(revision))
}

fn fetch(input: &Input<'_>, path: &str) -> Container {
    let ModelSource::HuggingFace { repo, revision, file } = &input.service.model.source else {
        return Container::default();
    };
    let mut arguments = vec!["fetch", "--repo", repo, "--revision", revision];
    if let Some(file) = file {
        arguments.extend(["--file", file]);
    }
    arguments.extend(["--into", path, "--log-format", "json"]);
    let mut arguments: Vec<String> = arguments.into_iter().map(literal).collect();
    if let Some(endpoint) = &input.settings.hub_endpoint {
        arguments.extend(["--endpoint".to_owned(), literal(endpoint)]);
    }
    let source = input.resource.spec.model.source.hugging_face.as_ref();
    let token =
        source.and_then(|HuggingFace { token_secret, .. }| token_secret.as_ref()).map(|secret| EnvVar {
            name: "HF_TOKEN".into(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: secret.name.clone(),
                    key: secret.key.clone(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
        });
    Container {
        args: Some(arguments),
        env: token.map(|token| vec![token]),
        volume_mounts: Some(vec![volumes::mount(VOLUME, FOLDER, false), container::scratch_mount()]),
        ..container::of(input, "fetch-model", "ampd-model")
    }
}

//! Volumes with their places in containers.

use std::collections::BTreeMap;

use ampd_api::service as api;
use k8s_openapi::api::core::v1::{ConfigMapProjection, DownwardAPIVolumeFile, ObjectFieldSelector};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIProjection, EmptyDirVolumeSource, KeyToPath,
    PersistentVolumeClaimVolumeSource, ProjectedVolumeSource, SecretVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Secrets are readable by the pod's group, which its processes are of, and by nobody else.
const SECRET_MODE: i32 = 0o440;
/// Where programs that speak with the API server look for their account.
pub(crate) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long an account's token is valid, seconds; the kubelet renews it before.
const TOKEN_SECONDS: i64 = 3600;

/// All files of a Secret.
pub(crate) fn secret(volume: &str, secret: String) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret),
        default_mode: Some(SECRET_MODE),
        ..Default::default()
    };
    Volume { name: volume.into(), secret: Some(source), ..Volume::default() }
}

/// One key of a `ConfigMap` as a file.
pub(crate) fn config_key(volume: &str, reference: &api::KeyRef, file: &str) -> Volume {
    let item = KeyToPath { key: reference.key.clone(), path: file.into(), mode: None };
    let source = ConfigMapVolumeSource {
        name: reference.name.clone(),
        items: Some(vec![item]),
        ..ConfigMapVolumeSource::default()
    };
    Volume { name: volume.into(), config_map: Some(source), ..Volume::default() }
}

/// An empty folder.
pub(crate) fn empty(volume: &str, size: Option<&str>) -> Volume {
    let size_limit = size.map(|size| Quantity(size.into()));
    let source = EmptyDirVolumeSource { size_limit, medium: None };
    Volume { name: volume.into(), empty_dir: Some(source), ..Volume::default() }
}

/// A claim.
pub(crate) fn claim(volume: &str, claim: &str, read_only: bool) -> Volume {
    let source =
        PersistentVolumeClaimVolumeSource { claim_name: claim.into(), read_only: read_only.then_some(true) };
    Volume { name: volume.into(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The pod's account, for the one container that speaks with the API server.
pub(crate) fn account(volume: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".into(),
        expiration_seconds: Some(TOKEN_SECONDS),
        audience: None,
    };
    let item = |key: &str| KeyToPath { key: key.into(), path: key.into(), mode: None };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".into(),
        items: Some(vec![item("ca.crt")]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".into(),
        field_ref: Some(ObjectFieldSelector { field_path: "metadata.namespace".into(), api_version: None }),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let source = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(SECRET_MODE) };
    Volume { name: volume.into(), projected: Some(source), ..Volume::default() }
}

/// The place of a volume in a container.
pub(crate) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// A volume that a person adds, and its place. Its name cannot be one of the operator's own.
pub(crate) fn added(volume: &api::Volume) -> (Volume, VolumeMount) {
    let name = format!("x-{}", volume.name);
    let mut made = Volume { name: name.clone(), ..Volume::default() };
    if let Some(secret) = &volume.secret {
        made.secret =
            Some(SecretVolumeSource { secret_name: Some(secret.name.clone()), ..Default::default() });
    }
    if let Some(map) = &volume.config_map {
        made.config_map = Some(ConfigMapVolumeSource { name: map.name.clone(), ..Default::default() });
    }
    if let Some(found) = &volume.persistent_volume_claim {
        made = Volume { name: name.clone(), ..claim("", &found.name, volume.read_only) };
    }
    if let Some(folder) = &volume.empty_dir {
        made.empty_dir = Some(EmptyDirVolumeSource {
            medium: folder.memory.then(|| "Memory".into()),
            size_limit: folder.size_limit.clone().map(Quantity),
        });
    }
    (made, mount(&name, &volume.mount_path, volume.read_only))
}

/// Quantities as the API server keeps them.
pub(crate) fn quantities(
    map: &BTreeMap<String, k8s_openapi::apimachinery::pkg::util::intstr::IntOrString>,
) -> BTreeMap<String, Quantity> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    map.iter().map(|(name, value)| (name.clone(), Quantity(text(value)))).collect()
}

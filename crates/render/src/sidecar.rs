//! The container of the scheduler beside a decode worker.

use ampd_api::service::ApiAuth;
use k8s_openapi::api::core::v1::{Container, ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::arguments::{self, Access, Discovery, SidecarPlace};
use crate::container::{self, literal};
use crate::model::Delivery;
use crate::ports::{API, SIDECAR};
use crate::worker::{self, PROFILE};
use crate::{Input, Role, names, probes, volumes};

/// Volume and folder of the certificate.
const TLS: (&str, &str) = ("sidecar-tls", "/etc/ampd/sidecar-tls");
/// Volume, folder and file of the API's keys.
const KEYS: (&str, &str, &str) = ("api-keys", "/etc/ampd/api-keys", "keys");
/// Volume, folder and file of the secret with which names of sessions are hashed.
const SESSIONS: (&str, &str, &str) = ("sessions", "/etc/ampd/sessions", "secret");
/// The volume with the pod's account.
const ACCOUNT: &str = "account";

/// The Secret with the API's keys; `None` where everybody may use it.
pub(crate) fn keys_secret(input: &Input<'_>) -> Option<String> {
    let api = &input.resource.spec.security.api;
    match api.auth {
        ApiAuth::Anonymous => None,
        ApiAuth::ApiKeys => Some(api.secret_name.clone().unwrap_or_else(|| names::api_keys(input.name()))),
    }
}

/// The volumes that only the sidecar has.
pub(crate) fn volumes_of(input: &Input<'_>) -> Vec<Volume> {
    let name = input.name();
    let keys = keys_secret(input).map(|secret| volumes::secret(KEYS.0, secret));
    let fixed = [
        volumes::secret(TLS.0, names::certificate(name, "sidecar")),
        volumes::secret(SESSIONS.0, names::session_secret(name)),
        volumes::account(ACCOUNT),
    ];
    fixed.into_iter().chain(keys).collect()
}

/// The sidecar: it starts before the worker and ends after it.
pub(crate) fn container(input: &Input<'_>, revision: &str, model: &Delivery) -> Container {
    let name = input.name();
    let sessions = format!("{}/{}", SESSIONS.1, SESSIONS.2).into();
    let keys = keys_secret(input);
    let access = if keys.is_some() {
        Access::Keys { file: format!("{}/{}", KEYS.1, KEYS.2).into(), sessions }
    } else {
        Access::Anonymous { sessions }
    };
    let place = SidecarPlace {
        name: "$(POD_NAME)".into(),
        listen: format!("0.0.0.0:{}", API.number).into(),
        internal_listen: format!("0.0.0.0:{}", SIDECAR.number).into(),
        discovery: Discovery::Services {
            decode: names::members(name, Role::Decode, revision),
            prefill: names::members(name, Role::Prefill, revision),
        },
        model: literal(&model.path).into(),
        tls_dir: TLS.1.into(),
        profile: worker::profile(input),
        access,
        process: worker::process(input),
    };
    let mut mounts = vec![
        volumes::mount(TLS.0, TLS.1, true),
        volumes::mount(SESSIONS.0, SESSIONS.1, true),
        volumes::mount(ACCOUNT, volumes::ACCOUNT, true),
        container::scratch_mount(),
    ];
    if keys.is_some() {
        mounts.push(volumes::mount(KEYS.0, KEYS.1, true));
    }
    if worker::profile(input).is_some() {
        mounts.push(volumes::mount(PROFILE.0, PROFILE.1, true));
    }
    mounts.extend(model.mount());
    Container {
        args: Some(container::arguments(arguments::sidecar(input.service, &place))),
        env: Some(container::identity()),
        ports: Some(vec![container::port(API), container::port(SIDECAR)]),
        volume_mounts: Some(mounts),
        resources: Some(resources()),
        restart_policy: Some("Always".into()),
        startup_probe: Some(probes::started(SIDECAR)),
        readiness_probe: Some(probes::ready(SIDECAR)),
        liveness_probe: Some(probes::live(SIDECAR)),
        ..container::of(input, "sidecar", "ampd-sidecar")
    }
}

/// A sidecar's memory grows by less than a mebibyte in a thousand rounds, and starts below a hundred.
fn resources() -> ResourceRequirements {
    let quantities = |list: &[(&str, &str)]| {
        list.iter().map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "100m"), ("memory", "256Mi")])),
        limits: Some(quantities(&[("memory", "2Gi")])),
        claims: None,
    }
}

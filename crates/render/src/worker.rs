//! The container of a worker.

use ampd_api::service::EnvironmentVariable;
use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, Container, EnvVar, EnvVarSource, Lifecycle, LifecycleHandler, ResourceRequirements,
    SecretKeySelector, SleepAction, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::arguments::{self, Process, WorkerPlace};
use crate::container::{self, literal};
use crate::model::Delivery;
use crate::ports::{CONTROL, KV};
use crate::{Input, Role, probes, volumes};

/// Volume and folder of the certificate.
pub(crate) const TLS: (&str, &str) = ("tls", "/etc/ampd/tls");
/// Volume, folder and file of the performance model.
pub(crate) const PROFILE: (&str, &str, &str) = ("profile", "/etc/ampd/profile", "profile.json");
/// Time for the others to notice that a pod is going before it refuses new work, seconds.
pub(crate) const NOTICE_S: i64 = 5;

/// What every process in a pod has.
pub(crate) fn process(input: &Input<'_>) -> Process {
    Process {
        grace: input.service.drain_timeout,
        log_format: "json".into(),
        log_filter: input.resource.spec.observability.log_filter.clone(),
        die_with_parent: false,
    }
}

/// The file of the performance model, as containers see it.
pub(crate) fn profile(input: &Input<'_>) -> Option<std::ffi::OsString> {
    let (_, folder, file) = PROFILE;
    input.resource.spec.planner.profile.as_ref().map(|_| format!("{folder}/{file}").into())
}

/// The worker of a role.
pub(crate) fn container(input: &Input<'_>, role: Role, degree: u32, model: &Delivery) -> Container {
    let spec = role.spec(&input.resource.spec);
    let settings = role.of(input.service);
    let decodes = role == Role::Decode;
    let place = WorkerPlace {
        name: "$(POD_NAME)".into(),
        listen: format!("0.0.0.0:{}", CONTROL.number).into(),
        kv_listen: decodes.then(|| format!("0.0.0.0:{}", KV.number).into()),
        kv_advertise: decodes.then(|| format!("$(POD_IP):{}", KV.number).into()),
        model: literal(&model.path).into(),
        tls_dir: TLS.1.into(),
        profile: profile(input),
        threads: settings.threads,
        kv_memory: settings.kv_cache,
        backend: None,
        process: process(input),
    };
    let mut ports = vec![container::port(CONTROL)];
    if decodes {
        ports.push(container::port(KV));
    }
    let mut mounts = vec![volumes::mount(TLS.0, TLS.1, true), container::scratch_mount()];
    mounts.extend(model.mount());
    if profile(input).is_some() {
        mounts.push(volumes::mount(PROFILE.0, PROFILE.1, true));
    }
    mounts.extend(added(spec));
    Container {
        args: Some(container::arguments(arguments::worker(input.service, role, &place))),
        env: Some(spec.pod.env.iter().map(variable).chain(container::identity()).collect()),
        ports: Some(ports),
        volume_mounts: Some(mounts),
        resources: Some(resources(input, role, degree)),
        startup_probe: Some(probes::loaded(CONTROL)),
        readiness_probe: Some(probes::ready(CONTROL)),
        liveness_probe: Some(probes::live(CONTROL)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: NOTICE_S }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ..container::of(input, "worker", "ampd-worker")
    }
}

fn added(spec: &ampd_api::service::Role) -> impl Iterator<Item = VolumeMount> {
    spec.pod.volumes.iter().map(|volume| volumes::added(volume).1)
}

/// What the manifest says, and the accelerators that the parallel degree is of.
fn resources(input: &Input<'_>, role: Role, degree: u32) -> ResourceRequirements {
    let said = &role.spec(&input.resource.spec).resources;
    let (mut requests, mut limits) = (volumes::quantities(&said.requests), volumes::quantities(&said.limits));
    if let Some(accelerator) = &input.resource.spec.accelerator {
        let name = &accelerator.resource_name;
        for map in [&mut requests, &mut limits] {
            map.insert(name.clone(), Quantity(degree.to_string()));
        }
    }
    let some = |map: std::collections::BTreeMap<_, _>| (!map.is_empty()).then_some(map);
    ResourceRequirements { requests: some(requests), limits: some(limits), claims: None }
}

fn variable(variable: &EnvironmentVariable) -> EnvVar {
    let EnvironmentVariable { name, value, secret_key_ref, config_map_key_ref } = variable;
    let secret = secret_key_ref.as_ref().map(|key| EnvVarSource {
        secret_key_ref: Some(SecretKeySelector {
            name: key.name.clone(),
            key: key.key.clone(),
            optional: None,
        }),
        ..EnvVarSource::default()
    });
    let map = config_map_key_ref.as_ref().map(|key| EnvVarSource {
        config_map_key_ref: Some(ConfigMapKeySelector {
            name: key.name.clone(),
            key: key.key.clone(),
            optional: None,
        }),
        ..EnvVarSource::default()
    });
    EnvVar { name: name.clone(), value: value.clone(), value_from: secret.or(map) }
}

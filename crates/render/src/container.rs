//! What all containers have.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, SecurityContext,
    Volume, VolumeMount,
};

use crate::ports::Port;
use crate::{Input, volumes};

const SCRATCH: &str = "scratch";

/// A container of the service's image that runs `program`, with the least rights.
pub(crate) fn of(input: &Input<'_>, name: &str, program: &str) -> Container {
    let image = &input.resource.spec.image;
    let policy = image.pull_policy.map_or(input.settings.pull_policy.as_str(), |policy| policy.as_str());
    Container {
        name: name.into(),
        image: Some(image.reference.clone().unwrap_or_else(|| input.settings.worker_image.clone())),
        image_pull_policy: Some(policy.to_owned()),
        command: Some(vec![program.into()]),
        security_context: Some(security()),
        // The end of the log says why a program ended.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Container::default()
    }
}

fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// The one folder that can be written.
pub(crate) fn scratch() -> Volume {
    volumes::empty(SCRATCH, Some("1Gi"))
}

/// Its place.
pub(crate) fn scratch_mount() -> VolumeMount {
    volumes::mount(SCRATCH, "/tmp", false)
}

/// A port.
pub(crate) fn port(port: Port) -> ContainerPort {
    ContainerPort {
        name: Some(port.name.into()),
        container_port: port.number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// A variable with a field of the pod.
pub(crate) fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.into(), api_version: None };
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// Name and address of the pod, for the arguments.
pub(crate) fn identity() -> Vec<EnvVar> {
    vec![field("POD_NAME", "metadata.name"), field("POD_IP", "status.podIP")]
}

/// A text that the kubelet leaves as it is: `$(NAME)` would become a variable's value.
pub(crate) fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}

/// Arguments for a container.
pub(crate) fn arguments(list: Vec<std::ffi::OsString>) -> Vec<String> {
    list.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

//! What the kubelet asks a container.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ports::Port;

/// Time between two questions, seconds.
const PERIOD: i32 = 5;
/// A model may take so long to load: an hour, for the largest over a slow network file system.
const LOADING: i32 = 3600;

/// Whether a path answers 200 on a port with TLS; the kubelet shows no certificate and asks for none.
fn get(port: Port, path: &str) -> Probe {
    let action = HTTPGetAction {
        path: Some(path.into()),
        port: IntOrString::String(port.name.into()),
        scheme: Some("HTTPS".into()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(action),
        period_seconds: Some(PERIOD),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// The process serves.
pub(crate) fn ready(port: Port) -> Probe {
    Probe { period_seconds: Some(2), failure_threshold: Some(2), ..get(port, "/readyz") }
}

/// The process lives; else it is started again.
pub(crate) fn live(port: Port) -> Probe {
    Probe { failure_threshold: Some(6), ..get(port, "/healthz") }
}

/// The process answers at all: of one that does so at once.
pub(crate) fn started(port: Port) -> Probe {
    Probe { period_seconds: Some(1), failure_threshold: Some(120), ..get(port, "/healthz") }
}

/// The process serves for the first time: of one that has a model to load.
pub(crate) fn loaded(port: Port) -> Probe {
    Probe { period_seconds: Some(2), failure_threshold: Some(LOADING / 2), ..get(port, "/readyz") }
}

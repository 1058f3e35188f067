//! What every reconcile has at hand.

use std::sync::Arc;
use std::time::Duration;

use ampd_api::AMPDService;
use ampd_render::Settings;
use ampd_telemetry::OperatorMetrics;
use kube::core::DeserializeGuard;
use kube::{Client, Resource as _};
use parking_lot::RwLock;

use crate::error::{ReconcileError, chain};
use crate::report::{Reporter, Severity};
use crate::service::dereference::Capabilities;

/// What every reconcile has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// How long certificates are valid.
    pub certificates: Duration,
    /// What it counts.
    pub metrics: Arc<OperatorMetrics>,
    /// Writes events.
    pub reporter: Reporter,
    /// What the cluster knows; looked at again now and then.
    pub known: RwLock<Capabilities>,
}

impl Context {
    /// What the cluster knows.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        *self.known.read()
    }

    /// Counts a write.
    pub(crate) fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.metrics.api_writes.with([kind, verb]).inc();
    }

    /// Writes an event about a service that could not be brought to its manifest.
    pub(crate) fn tell_failure(&self, object: &DeserializeGuard<AMPDService>, error: &ReconcileError) {
        let mut about = object.object_ref(&());
        about.kind = Some(ampd_api::KIND.into());
        self.reporter.publish(about, error.kind(), &chain(error), Severity::Warning);
    }

    /// Writes an event about a service.
    pub(crate) fn tell(&self, resource: &AMPDService, reason: &'static str, note: &str, warns: bool) {
        let severity = if warns { Severity::Warning } else { Severity::Normal };
        self.reporter.publish(resource.object_ref(&()), reason, note, severity);
    }
}

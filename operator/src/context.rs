//! What every reconcile has at hand.

use std::sync::Arc;
use std::time::Duration;

use ampd_api::AMPDService;
use ampd_render::Settings;
use ampd_telemetry::OperatorMetrics;
use kube::core::DeserializeGuard;
use kube::runtime::events::EventType;
use kube::{Client, Resource as _};
use parking_lot::RwLock;

use crate::condition::Reason;
use crate::error::{ReconcileError, chain};
use crate::health::Health;
use crate::report::Reports;
use crate::service::dereference::Capabilities;
use crate::service::measurements::Measurements;

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
    /// How the process fares.
    pub health: Arc<Health>,
    /// Writes events.
    pub reports: Reports,
    /// What sidecars said of their rounds.
    pub measurements: Measurements,
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
        self.reports.publish(EventType::Warning, error.reason(), chain(error), &about);
    }

    /// Writes an event about a service.
    pub(crate) fn tell(
        &self,
        resource: &AMPDService,
        severity: EventType,
        reason: Reason,
        note: impl Into<String>,
    ) {
        self.reports.publish(severity, reason, note.into(), &resource.object_ref(&()));
    }
}

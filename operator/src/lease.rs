//! Which replica works: the one that holds a Lease.

mod decide;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use decide::{Decision, Record, decide};

/// The Lease's name.
pub const NAME: &str = "ampd-operator";
/// A holder that has not renewed for so long is lost.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long gives up. The rest until [`DURATION`] is for clocks that run apart and for writes
/// that are under way.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(4);

/// Why leadership was not kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The Lease could not be renewed in time; another replica may work by now.
    #[error("the Lease could not be renewed for {} s", RENEW_DEADLINE.as_secs())]
    NotRenewed,
    /// Another replica holds the Lease.
    #[error("{0} holds the Lease now")]
    Taken(String),
}

/// A replica that asks for the Lease.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
}

/// The Lease, held.
pub struct Held<'a> {
    candidate: &'a Candidate,
    lease: Lease,
    /// Before the last write that went through was sent.
    renewed: Instant,
}

impl Candidate {
    /// A candidate by the name of `identity` for the Lease in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), identity: identity.into() }
    }

    /// Waits until this replica holds the Lease; `None` when `stop` comes first.
    pub async fn acquire(&self, stop: &CancellationToken) -> Option<Held<'_>> {
        let mut seen: Option<Record> = None;
        loop {
            if let Some(held) = self.try_acquire(&mut seen).await {
                return Some(held);
            }
            let wait = RETRY.mul_f64(rand::rng().random_range(0.8..1.2));
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(wait) => {}
            }
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Record>) -> Option<Held<'_>> {
        let started = Instant::now();
        let found = match timeout(CALL, self.api.get_opt(NAME)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the Lease cannot be read");
                return None;
            }
            Err(_) => return None,
        };
        let Some(present) = found else {
            let made = Lease {
                metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
                spec: Some(self.spec(0)),
            };
            return self.write(started, async |api| api.create(&PostParams::default(), &made).await).await;
        };
        let spec = present.spec.clone().unwrap_or_default();
        let record = Record::new(spec.holder_identity, present.metadata.resource_version.clone(), started, seen.take());
        let decision = decide(&record, &self.identity, started, DURATION);
        *seen = Some(record);
        match decision {
            Decision::Wait => None,
            Decision::Take => {
                let mut next = present;
                next.spec = Some(self.spec(spec.lease_transitions.unwrap_or(0).saturating_add(1)));
                self.write(started, async |api| api.replace(NAME, &PostParams::default(), &next).await).await
            }
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// A write that another one came before is no error: it only lost.
    async fn write(
        &self,
        started: Instant,
        write: impl AsyncFnOnce(&Api<Lease>) -> Result<Lease, kube::Error>,
    ) -> Option<Held<'_>> {
        match timeout(CALL, write(&self.api)).await {
            Ok(Ok(lease)) => Some(Held { candidate: self, lease, renewed: started }),
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "the Lease went to another");
                None
            }
            Err(_) => None,
        }
    }
}

impl Held<'_> {
    /// Renews until `stop`, then gives the Lease back, so that another replica need not wait.
    ///
    /// # Errors
    /// When it is lost: whatever this replica does from then on, another may do too.
    pub async fn keep(mut self, stop: &CancellationToken) -> Result<(), LeaseError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.release().await;
                    return Ok(());
                }
                () = sleep(RETRY) => {}
            }
            self.renew().await?;
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseError> {
        let deadline = self.renewed + RENEW_DEADLINE;
        loop {
            let started = Instant::now();
            let Some(left) = deadline.checked_duration_since(started).filter(|left| !left.is_zero()) else {
                return Err(LeaseError::NotRenewed);
            };
            let mut next = self.lease.clone();
            if let Some(spec) = &mut next.spec {
                spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
            }
            let api = &self.candidate.api;
            match timeout(left.min(CALL), api.replace(NAME, &PostParams::default(), &next)).await {
                Ok(Ok(lease)) => {
                    (self.lease, self.renewed) = (lease, started);
                    return Ok(());
                }
                // An own write whose answer was lost, or somebody else's.
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() => self.look(left).await?,
                Ok(Err(error)) => tracing::warn!(error = chain(&error), "the Lease is not renewed"),
                Err(_) => tracing::warn!("the API server does not answer; the Lease is not renewed"),
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn look(&mut self, left: Duration) -> Result<(), LeaseError> {
        if let Ok(Ok(Some(lease))) = timeout(left.min(CALL), self.candidate.api.get_opt(NAME)).await {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
            if holder != self.candidate.identity {
                return Err(LeaseError::Taken(holder));
            }
            self.lease = lease;
        }
        Ok(())
    }

    async fn release(&self) {
        let mut next = self.lease.clone();
        if let Some(spec) = &mut next.spec {
            spec.holder_identity = Some(String::new());
        }
        let released = timeout(CALL, self.candidate.api.replace(NAME, &PostParams::default(), &next)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::info!("the Lease is not given back; it ends by itself");
        }
    }
}

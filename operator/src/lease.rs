//! Leadership by a `Lease`: of several replicas, one acts.
//!
//! # Guarantees
//! At most one replica believes to lead at any time, as long as clocks run at about the same rate and whoever loses
//! leadership stops acting at once: it ends its process. Writes are replacements of a version that was read, so that a
//! late one changes nothing.
//!
//! # Caveats
//! A process that stands still for longer than the difference of duration and deadline, between its look at the clock and a
//! write, can still send that write. Whoever deletes the lease by hand lets a replica that has never seen it begin at once.

mod decide;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use decide::{Candidate, Clock, Decision, Record, Times};

/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_secs(5);

/// Leadership, from [`Leadership::acquire`] until [`Leadership::lost`]. Dropping it stops renewals without giving the lease
/// back.
#[derive(Debug)]
pub struct Leadership {
    lost: CancellationToken,
    stop: DropGuard,
    renewing: JoinHandle<Holder>,
}

impl Leadership {
    /// Waits until this replica leads; `None` when `shutdown` came first. Errors of the API are logged, and it tries on.
    ///
    /// `identity` names the replica, for example by its pod. What runs under the same name later is told apart.
    pub async fn acquire(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        Self::of(Holder::new(Api::namespaced(client, namespace), name, identity, Times::default()), shutdown)
            .await
    }

    async fn of(mut holder: Holder, shutdown: &CancellationToken) -> Option<Self> {
        if !holder.acquired(shutdown).await {
            holder.release().await;
            return None;
        }
        tracing::info!(lease = holder.name, identity = holder.identity, "leading");
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewing = tokio::spawn({
            let (lost, stop) = (lost.clone(), stop.clone());
            async move {
                let over = lost.drop_guard();
                holder.renewed(&stop).await;
                drop(over);
                holder
            }
        });
        Some(Self { lost, stop: stop.drop_guard(), renewing })
    }

    /// Cancelled when this replica no longer leads. Whoever acts must stop at once, which is surest by ending the process.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back, so that another replica takes over without waiting. Nothing may act any more.
    pub async fn release(self) {
        drop(self.stop);
        match self.renewing.await {
            Ok(holder) => holder.release().await,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the renewals broke off"),
        }
    }
}

/// A candidate with its API.
#[derive(Debug)]
struct Holder {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
    candidate: Candidate,
    /// The lease as it was last read or written.
    lease: Option<Lease>,
    /// Whether it ever tried to take the lease: then it may have it, whatever the answers were.
    claims: bool,
    start: Instant,
}

impl Holder {
    fn new(api: Api<Lease>, name: &str, identity: &str, times: Times) -> Self {
        let identity = format!("{identity}_{:016x}", rand::random::<u64>());
        let candidate = Candidate::new(identity.clone(), times);
        let (name, start) = (name.to_owned(), Instant::now());
        Self { api, name, identity, times, candidate, lease: None, claims: false, start }
    }

    fn now(&self) -> Clock {
        self.start.elapsed()
    }

    /// Tries until this candidate holds the lease; `false` when it is to stop before.
    async fn acquired(&mut self, stop: &CancellationToken) -> bool {
        while !self.candidate.holds(self.now()) {
            if self.candidate.held_until().is_some() {
                // The answer came when its time was over already. It cannot know what others have done since.
                self.candidate = Candidate::new(self.identity.clone(), self.times);
            }
            if stop.run_until_cancelled(self.step()).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Keeps the lease until it is lost or given up.
    async fn renewed(&mut self, stop: &CancellationToken) {
        loop {
            match stop.run_until_cancelled(self.step()).await {
                Some(true) => {}
                Some(false) => {
                    tracing::error!(lease = self.name, "leadership is lost");
                    return;
                }
                None => return,
            }
        }
    }

    /// Does what is due; `false` when leadership is over.
    async fn step(&mut self) -> bool {
        let sent = self.now();
        match self.candidate.decide(sent) {
            Decision::Lost => return false,
            Decision::Wait(time) => sleep(time).await,
            Decision::Read => self.ask(None, sent).await,
            Decision::Create => self.ask(Some(self.claimed(None)), sent).await,
            Decision::Replace => {
                let claimed = self.lease.as_ref().map(|lease| self.claimed(Some(lease)));
                self.ask(claimed, sent).await;
            }
        }
        true
    }

    /// Writes the lease, or reads it where there is nothing to write.
    async fn ask(&mut self, write: Option<Lease>, sent: Clock) {
        self.claims |= write.is_some();
        let patience = self.candidate.patience(sent);
        let answer = timeout(patience, self.request(write.as_ref())).await;
        let (now, pause) = (self.now(), jittered(self.times.retry));
        match answer {
            Ok(Ok(lease)) => {
                let record = lease.as_ref().map(|lease| record(lease, self.times));
                self.lease = lease;
                match record {
                    Some(record) if write.is_some() && record.holder == self.identity => {
                        self.candidate.wrote(record, sent, now, pause);
                    }
                    record => self.candidate.read(record, now),
                }
            }
            Ok(Err(error)) => {
                if is_conflict(&error) {
                    tracing::debug!(lease = self.name, "another write of the lease came first");
                } else {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(lease = self.name, error, "a request for the lease failed");
                }
                self.candidate.failed(now, pause);
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "a request for the lease took longer than {patience:?}");
                self.candidate.failed(now, pause);
            }
        }
    }

    async fn request(&self, write: Option<&Lease>) -> kube::Result<Option<Lease>> {
        let parameters = PostParams::default();
        match write {
            None => self.api.get_opt(&self.name).await,
            Some(lease) if lease.metadata.resource_version.is_none() => {
                self.api.create(&parameters, lease).await.map(Some)
            }
            Some(lease) => self.api.replace(&self.name, &parameters, lease).await.map(Some),
        }
    }

    /// The lease as this candidate's own. Its times are for people: no candidate compares them.
    fn claimed(&self, lease: Option<&Lease>) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let metadata = match lease {
            Some(lease) => lease.metadata.clone(),
            None => ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
        };
        let before = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(&*self.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.times.duration.as_secs() as i32),
            acquire_time: if mine { before.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if mine || lease.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..before
        };
        Lease { metadata, spec: Some(spec) }
    }

    /// Empties the lease, if this candidate holds it.
    async fn release(&self) {
        if !self.claims {
            return;
        }
        let released = timeout(RELEASE, async {
            // Whether the last write came through may be unknown, so each try begins with a look.
            loop {
                match self.released().await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "cannot release"),
                }
                sleep(self.times.retry / 4).await;
            }
        });
        if released.await.is_err() {
            tracing::warn!(lease = self.name, "the lease could not be given back; it expires");
        }
    }

    async fn released(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        if let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(&*self.identity)
        {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            tracing::info!(lease = self.name, "given back");
        }
        Ok(())
    }
}

fn record(lease: &Lease, times: Times) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: seconds.map_or(times.duration, Duration::from_secs),
    }
}

/// Up to a fifth longer, so that replicas that started together do not ask together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(1.0 + 0.2 * rand::random::<f64>())
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

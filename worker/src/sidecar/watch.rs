//! What a sidecar watches all the time: its worker, the other members, the topology, and the prefill workers' load.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::config::Signals;
use super::load::WorkerLoad;
use super::peer::failure;
use super::poll::{Pace, paced, poll};
use super::state::Shared;
use super::{health::Failure, signals_prometheus};
use crate::protocol::{ClientError, ControlClient};
use crate::topology::{DecodeMember, Topology};

/// How often the own worker is asked.
const OWN: Duration = Duration::from_millis(200);
/// How often each other member is asked, at most.
const MEMBERS: Duration = Duration::from_millis(250);
/// Calls to other members a second: in a large cluster each is asked less often.
const MEMBERS_RATE: f64 = 64.0;
/// Members asked at once when an answer is wanted now.
const MEMBERS_AT_ONCE: usize = 64;
/// How often the load of each followed prefill worker is read.
const SIGNALS: Duration = Duration::from_millis(100);
/// How long a reading may take.
const READ_DEADLINE: Duration = Duration::from_millis(500);

/// How often each other member is asked.
pub(super) fn members_every(topology: &Topology) -> Duration {
    paced(MEMBERS, topology.decode.len(), MEMBERS_RATE)
}

/// Starts watching; everything ends with the shutdown.
pub(super) fn start(shared: &Arc<Shared>) {
    // Before the first request is served.
    shared.take_in(&shared.topology());
    shared.tasks.spawn(follow_topology(shared.clone()));
    shared.tasks.spawn(watch_own(shared.clone()));
    shared.tasks.spawn(watch_members(shared.clone()));
    match &shared.config.signals {
        Signals::Direct => shared.tasks.spawn(read_signals(shared.clone())),
        Signals::Prometheus(url) => shared.tasks.spawn(signals_prometheus::read(shared.clone(), url.clone())),
    };
}

async fn follow_topology(shared: Arc<Shared>) {
    let mut topology = shared.topology.clone();
    loop {
        let current = topology.borrow_and_update().clone();
        shared.take_in(&current);
        let ends = shared.ends() && !shared.own.drained();
        if ends && shared.others_take(&current) {
            // The worker goes on for a few seconds: time for what would be lost with it.
            shared.begin_drain().await;
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            changed = topology.changed() => if changed.is_err() { return },
            // Until then it is better than nobody.
            () = tokio::time::sleep(MEMBERS), if ends => {}
        }
    }
}

/// Goes on during the shutdown's grace period, for the rounds that still run; ends when the sidecar's tasks are cut.
async fn watch_own(shared: Arc<Shared>) {
    let (stop, peers) = (shared.stopped.clone(), shared.clone());
    let own = move || {
        let member = peers.member(peers.own.name());
        if member.is_none() {
            peers.own.failed(Failure::Refused);
        }
        member.map(|member| (member.name.clone(), member)).into_iter().collect()
    };
    poll(OWN, stop, own, |member| {
        let shared = shared.clone();
        async move {
            match load_of(&shared.decode_client(&member)).await {
                Ok(load) => {
                    shared.own.answered(load, &shared.home.epochs);
                    shared.members.answered(shared.own.status());
                }
                Err(error) => {
                    if let Some(failure) = failure(&error) {
                        shared.own.failed(failure);
                    } else {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "the own worker has no load"
                        );
                        shared.own.answered(WorkerLoad::default(), &shared.home.epochs);
                    }
                    shared.members.answered(shared.own.status());
                }
            }
        }
    })
    .await;
}

async fn watch_members(shared: Arc<Shared>) {
    let (stop, peers) = (shared.shutdown.clone(), shared.clone());
    let mut pace = Pace::new();
    let others = move || {
        let topology = peers.topology();
        if !pace.due(members_every(&topology)) {
            return Vec::new();
        }
        let others = topology.decode.iter().filter(|member| member.name != peers.own.name());
        others.map(|member| (member.name.clone(), member.clone())).collect()
    };
    poll(MEMBERS, stop, others, |member| {
        let shared = shared.clone();
        async move { shared.ask_member(&member).await }
    })
    .await;
}

impl Shared {
    /// Whether another member is known to take sessions.
    fn others_take(&self, topology: &Topology) -> bool {
        let mut others = topology.decode.iter().filter(|member| member.name != self.own.name());
        others.any(|member| !member.ends && self.members.is_heard_ready(&member.name))
    }

    /// Asks all other members for their status now.
    pub(super) async fn ask_members(&self) {
        let topology = self.topology();
        let others = topology.decode.iter().filter(|member| member.name != self.own.name());
        futures::stream::iter(others)
            .for_each_concurrent(MEMBERS_AT_ONCE, |member| self.ask_member(member))
            .await;
    }

    async fn ask_member(&self, member: &DecodeMember) {
        match self.peer(member).status().await {
            // A name of its own choice would spoil what is known of another.
            Ok(status) if status.name == member.name => self.members.answered(status),
            Ok(status) => tracing::warn!(
                member = member.name,
                answered = status.name,
                "the topology's address of a member is another one's"
            ),
            Err(error) => {
                if let Some(failure) = failure(&error) {
                    self.members.failed(&member.name, failure);
                }
            }
        }
    }
}

async fn read_signals(shared: Arc<Shared>) {
    let (stop, peers) = (shared.shutdown.clone(), shared.clone());
    let followed =
        move || peers.followed().into_iter().map(|worker| (worker.name.clone(), worker)).collect::<Vec<_>>();
    poll(SIGNALS, stop, followed, |worker| {
        let shared = shared.clone();
        async move {
            // What the worker answers was true no earlier than the question.
            let asked_s = shared.clock.now_s();
            let outcome = match load_of(&shared.prefill_client(&worker)).await {
                Ok(load) => {
                    shared.signals.answered(&worker.name);
                    shared.signals.read(&worker.name, load, asked_s);
                    "ok"
                }
                Err(error) => {
                    if let Some(failure) = failure(&error) {
                        shared.signals.failed(&worker.name, failure);
                        if failure == Failure::Refused { "refused" } else { "silent" }
                    } else {
                        shared.signals.answered(&worker.name);
                        "invalid"
                    }
                }
            };
            shared.metrics.signal_reads.with([outcome]).inc();
        }
    })
    .await;
}

/// Reads a worker's load.
async fn load_of(worker: &ControlClient) -> Result<WorkerLoad, ClientError> {
    let text = worker.load(READ_DEADLINE).await?;
    WorkerLoad::parse(&text).map_err(|error| ClientError::Answer(serde::de::Error::custom(error)))
}

//! What all requests of a sidecar share.

use std::sync::Arc;

use ampd_scheduler::RoutingPolicy;
use ampd_scheduler::rendezvous;
use ampd_telemetry::SidecarMetrics;
use ampd_telemetry::table::sidecar::{NONE, round_class};
use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attainment::{Attainment, Ended};
use super::auth::Keys;
use super::clients::Clients;
use super::clock::Clock;
use super::config::Config;
use super::holders::Holders;
use super::home::Home;
use super::inflight::Places;
use super::lines::Lines;
use super::members::Members;
use super::model::Estimate;
use super::moves::Moves;
use super::own::OwnWorker;
use super::peer::Peer;
use super::pending::Pending;
use super::resolve::Known;
use super::rounds::Rounds;
use super::signals::Signals;
use super::watch::members_every;
use crate::protocol::{ControlClient, Deadlines};
use crate::topology::{DecodeMember, PrefillMember, Topology};

/// The state of a sidecar.
pub(super) struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub metrics: SidecarMetrics,
    /// How clients' rounds did lately.
    pub attainment: Attainment,
    pub clients: Clients,
    /// Who may use the API now.
    pub keys: ArcSwap<Keys>,
    pub topology: watch::Receiver<Arc<Topology>>,
    /// The decode members, this one included.
    pub members: Members,
    /// The worker beside this sidecar.
    pub own: OwnWorker,
    /// The prefill workers' load.
    pub signals: Arc<Signals>,
    /// The prefill workers that are followed.
    pub followed: ArcSwap<Vec<PrefillMember>>,
    /// Prefill workers that are being probed.
    pub probes: Lines,
    pub policy: Box<dyn RoutingPolicy>,
    pub estimate: Estimate,
    /// The own worker's local prefills that it has not told of yet.
    pub pending: Arc<Pending>,
    /// Which prefill workers still have KV of which sessions.
    pub holders: Holders,
    /// The bindings that this sidecar keeps.
    pub home: Home,
    /// The bindings that this sidecar was told.
    pub known: Known,
    /// The rounds that run on the own worker.
    pub rounds: Rounds,
    /// Moving the own worker's sessions to others, while it is drained.
    pub moves: Moves,
    /// Sessions that leave at once because another worker is better for their next round.
    pub relocating: Semaphore,
    /// Requests that may be served at once.
    pub places: Places,
    /// Everything that runs beside its caller.
    pub tasks: TaskTracker,
    /// The rounds on the own worker, of own clients and of other sidecars'.
    pub served: TaskTracker,
    /// Told to stop.
    pub shutdown: CancellationToken,
    /// All connections have ended.
    pub stopped: CancellationToken,
    /// Cancelled when the grace after `shutdown` is over: requests that still run are told so.
    pub closing: CancellationToken,
}

impl Shared {
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.borrow().clone()
    }

    /// Whether the own pod is about to end.
    pub(super) fn ends(&self) -> bool {
        self.topology.borrow().decode.iter().any(|member| member.name == self.own.name() && member.ends)
    }

    /// Why clients had better go to another sidecar, if they had.
    pub(super) fn unready(&self) -> Option<&'static str> {
        let topology = self.topology.borrow();
        let own = topology.decode.iter().find(|member| member.name == self.own.name());
        match own {
            _ if self.shutdown.is_cancelled() => Some("draining"),
            _ if topology.is_unknown() => Some("the API server has not told the service's workers yet"),
            None => Some("the topology lacks this sidecar's decode worker"),
            _ if self.own.drained() => Some("drained"),
            Some(own) if own.ends => Some("the pod is about to end"),
            _ if !self.own.ready() => Some("the decode worker beside this sidecar is not ready"),
            Some(_) => None,
        }
    }

    /// The client of a decode worker.
    pub(super) fn decode_client(&self, member: &DecodeMember) -> ControlClient {
        ControlClient::new(self.clients.decode.clone(), &member.worker_url, Deadlines::default())
    }

    /// The client of a prefill worker.
    pub(super) fn prefill_client(&self, member: &PrefillMember) -> ControlClient {
        ControlClient::new(self.clients.prefill.clone(), &member.worker_url, Deadlines::default())
    }

    /// The client of another member's sidecar.
    pub(super) fn peer(&self, member: &DecodeMember) -> Peer {
        Peer::new(self.clients.sidecar.clone(), &member.sidecar_url)
    }

    /// The decode member of a name.
    pub(super) fn member(&self, name: &str) -> Option<DecodeMember> {
        self.topology().decode.iter().find(|member| member.name == name).cloned()
    }

    /// What each prefill worker is expected to get from the other sidecars, seconds of work a second: the same for all, and asked for
    /// once in a decision.
    pub(super) fn expected_of_others(&self) -> f64 {
        let topology = self.topology();
        self.signals.others(topology.decode.len(), topology.prefill.len())
    }

    /// A client's round ended: it counts for the service's status and in the metric, there with the round's number in its
    /// session where it has one.
    pub(super) fn round_ended(&self, ended: Ended, number: Option<u64>) {
        self.attainment.ended(ended);
        let class = [
            ended.outcome(),
            number.map_or(NONE, round_class),
            ended.place().map_or(NONE, super::record::place),
        ];
        self.metrics.round_outcomes.with(class).inc();
    }

    /// Takes in a new topology: who is followed, and who is forgotten.
    pub(super) fn take_in(&self, topology: &Topology) {
        let decode: Vec<&str> = topology.decode.iter().map(|member| member.name.as_str()).collect();
        let prefill: Vec<&str> = topology.prefill.iter().map(|member| member.name.as_str()).collect();
        let chosen = rendezvous::subset(self.own.name(), &decode, &prefill, rendezvous::FOLLOWED);
        let followed: Vec<_> = chosen.into_iter().map(|index| topology.prefill[index].clone()).collect();
        let before = self.followed.load_full();
        for gone in before.iter().filter(|worker| followed.iter().all(|other| other.name != worker.name)) {
            self.metrics.signal_age_seconds.remove([gone.name.as_str()]);
        }
        self.signals.follow(followed.iter().map(|worker| worker.name.as_str()));
        self.followed.store(Arc::new(followed));
        self.members.keep(topology, members_every(topology).as_secs_f64());
    }
}

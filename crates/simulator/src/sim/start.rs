//! The state at time zero.

use ampd_scheduler::InFlight;

use super::decode::Decode;
use super::events::{Event, Events};
use super::kv::KvMemory;
use super::links::Transfers;
use super::prefill::Prefill;
use super::round::{Rounds, Session};
use super::setup::Setup;
use super::sidecar::{Member, Sidecar, Signal, followed};
use super::{Scratch, Sim};
use crate::random::stream;
use crate::report::Run;

impl<'a> Sim<'a> {
    pub(super) fn new(setup: &'a Setup<'a>) -> Self {
        let cluster = setup.cluster;
        let mut order: Vec<u32> = (0..setup.trace.sessions.len() as u32).collect();
        order.sort_by(|a, b| setup.arrival_s(*a).total_cmp(&setup.arrival_s(*b)));
        let window_s = setup.policies.signals.window_s;
        let memory = |kv_tokens| KvMemory::new(kv_tokens, cluster.block_tokens);
        let decode =
            |_| Decode::new(memory(cluster.kv_tokens), cluster.block_tokens, window_s, setup.model.clone());
        let of = setup.prefill_type();
        let prefill = |_| Prefill::new(memory(of.kv_tokens), window_s, of.model.clone());
        let sidecar = |followed| Sidecar {
            signals: vec![Signal::default(); cluster.prefill_workers as usize],
            followed,
            members: vec![Member::new(cluster.kv_tokens); cluster.decode_workers as usize],
            inflight: InFlight::default(),
        };
        let mut events = Events::default();
        for sidecar in 0..cluster.decode_workers {
            // Sidecars start at different moments and read in turn ever after.
            let phase = f64::from(sidecar) / f64::from(cluster.decode_workers);
            events.at(phase * setup.policies.signals.poll_s, Event::Poll { sidecar });
        }
        for (index, fault) in setup.faults.iter().enumerate() {
            let index = index as u32;
            events.at(fault.from_s, Event::Fault { index, begins: true });
            events.at(fault.until_s, Event::Fault { index, begins: false });
        }
        let workers = cluster.prefill_workers + cluster.decode_workers;
        Self {
            setup,
            prefill_speed: setup.prefill_speed(),
            sessions: vec![Session::default(); order.len()],
            order,
            next_session: 0,
            now_s: 0.0,
            events,
            rng: stream(setup.seed, "steps"),
            rounds: Rounds::default(),
            decodes: (0..cluster.decode_workers).map(decode).collect(),
            prefills: (0..cluster.prefill_workers).map(prefill).collect(),
            sidecars: followed(cluster.prefill_workers, cluster.decode_workers)
                .into_iter()
                .map(sidecar)
                .collect(),
            transfers: Transfers::new(cluster.links, workers.div_ceil(cluster.workers_per_node)),
            held: vec![Vec::new(); cluster.decode_workers as usize],
            run: Run::default(),
            scratch: Scratch::default(),
        }
    }

    /// The node of a decode worker. Workers are dealt over the nodes in turn, decode workers first.
    pub(super) fn decode_node(&self, worker: u32) -> u32 {
        worker % self.nodes()
    }

    /// The node of a prefill worker.
    pub(super) fn prefill_node(&self, worker: u32) -> u32 {
        (self.setup.cluster.decode_workers + worker) % self.nodes()
    }

    fn nodes(&self) -> u32 {
        let cluster = self.setup.cluster;
        (cluster.prefill_workers + cluster.decode_workers).div_ceil(cluster.workers_per_node)
    }
}

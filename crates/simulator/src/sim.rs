//! The simulation.

mod admit;
mod arrive;
mod decode;
mod decoding;
mod dispatch;
mod events;
mod failing;
mod finish;
mod joining;
mod kv;
mod links;
mod moving;
mod parts;
mod prefill;
mod prefilling;
mod round;
mod route;
mod rows;
mod setup;
mod sidecar;
mod signals;
mod stalls;
mod start;

use ampd_scheduler::{Decoding, LocalPrefill, PrefillLoad};

use crate::random::Rng;
use crate::report::Run;
use decode::Decode;
use events::{Event, Events};
use links::Transfers;
use prefill::Prefill;
use round::{Rounds, Session};
use sidecar::Sidecar;

pub use setup::{Setup, SimulationError, WorkerType};

/// A session counts as live for this long after its last round, seconds: nobody tells when a session is over.
const LIVE_S: f64 = 10.0;

/// Everything at one moment.
struct Sim<'a> {
    setup: &'a Setup<'a>,
    /// See [`Setup::prefill_speed`].
    prefill_speed: f64,
    /// Sessions by arrival, as places in the trace.
    order: Vec<u32>,
    next_session: usize,
    now_s: f64,
    events: Events,
    rng: Rng,
    sessions: Vec<Session>,
    rounds: Rounds,
    decodes: Vec<Decode>,
    prefills: Vec<Prefill>,
    sidecars: Vec<Sidecar>,
    transfers: Transfers,
    /// Sessions that wait to be let in, by home.
    held: Vec<Vec<(u32, f64)>>,
    run: Run,
    scratch: Scratch,
}

/// Buffers that are filled anew at each decision.
#[derive(Default)]
struct Scratch {
    decoding: Vec<Decoding>,
    waiting: Vec<LocalPrefill>,
    loads: Vec<PrefillLoad>,
}

/// Simulates a deployment under a trace, until all its rounds have ended or `until_s` is reached. Equal setups give
/// equal runs, bit for bit.
///
/// # Errors
/// When the cluster, a fault, the trace or a number cannot be.
pub fn simulate(setup: &Setup<'_>) -> Result<Run, SimulationError> {
    setup.check()?;
    let mut sim = Sim::new(setup);
    sim.run();
    Ok(sim.end())
}

impl Sim<'_> {
    fn run(&mut self) {
        while let Some((at_s, event)) = self.next_event() {
            if at_s > self.setup.until_s {
                break;
            }
            self.now_s = at_s;
            self.handle(event);
            if self.next_session >= self.order.len() && self.idle() {
                break;
            }
        }
    }

    /// The next event: of those scheduled, or the next session's arrival.
    fn next_event(&mut self) -> Option<(f64, Event)> {
        let scheduled_s = self.events.next_s();
        if let Some(&session) = self.order.get(self.next_session) {
            let at_s = self.setup.arrival_s(session);
            if scheduled_s.is_none_or(|scheduled_s| at_s <= scheduled_s) {
                self.next_session += 1;
                return Some((at_s, Event::Arrive { session: self.next_session as u32 - 1 }));
            }
        }
        self.events.pop()
    }

    /// By what factor a step that begins now takes longer, for those of other workers on the same cores. What begins or
    /// ends meanwhile is left out: over many steps, too much and too little are even.
    fn crowding(&self) -> f64 {
        let Some(cores) = self.setup.cluster.cores else { return 1.0 };
        let decodes = self.decodes.iter().filter(|worker| worker.step.is_some()).count();
        let prefills = self.prefills.iter().filter(|worker| worker.step.is_some()).count();
        ((decodes + prefills + 1) as f64 / f64::from(cores)).max(1.0)
    }

    /// Whether every round has ended and none will come.
    fn idle(&self) -> bool {
        self.run.rounds.len() as u64 >= self.setup.rounds() && self.rounds.all().next().is_none()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { session } => self.arrive(session, self.now_s),
            Event::Open(round) => self.open(round),
            Event::DecodeStep { worker, epoch } => self.decode_step_ended(worker, epoch),
            Event::PrefillStep { worker, epoch } => self.prefill_step_ended(worker, epoch),
            Event::Links { version } => self.links_changed(version),
            Event::Pulled { worker, round } => self.pulled(worker, round),
            Event::Returned(round) => self.returned(round),
            Event::Delivered(round) => self.delivered(round),
            Event::Moved { round, to } => self.moved(round, to),
            Event::Poll { sidecar } => self.poll(sidecar),
            Event::Fault { index, begins } => self.fault(index, begins),
        }
    }
}

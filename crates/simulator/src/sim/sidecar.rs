//! What a sidecar knows of the workers: signals of some age, and its own dispatches.

use ampd_scheduler::{BindCandidate, InFlight, MoveCandidate, rendezvous};

/// The load of a prefill worker as last read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    pub at_s: f64,
    pub backlog_s: f64,
    pub windowed_ttft_s: Option<f64>,
    pub ratio: f64,
    pub alive: bool,
}

impl Default for Signal {
    /// One never read; such a worker is taken for idle and able.
    fn default() -> Self {
        Self { at_s: f64::NEG_INFINITY, backlog_s: 0.0, windowed_ttft_s: None, ratio: 1.0, alive: true }
    }
}

/// A decode worker as last heard of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub candidate: BindCandidate,
    /// The same for sessions that are to move; its age is that at `at_s`.
    pub moves: MoveCandidate,
    pub at_s: f64,
    /// Mean context of its rounds, tokens.
    pub mean_context: f64,
    /// Predicted seconds of a step with one round more.
    pub step_s: f64,
    /// The same by its own corrected model alone.
    pub modelled_s: f64,
    pub backlog_s: f64,
    /// Sessions that this home has bound to it since.
    pub bound: u32,
    /// The tokens that they bring.
    pub bound_tokens: u64,
}

/// The sidecar.
#[derive(Debug)]
pub(super) struct Sidecar {
    /// Of the prefill workers; of those that it does not follow nothing is ever read.
    pub signals: Vec<Signal>,
    /// The prefill workers that it follows, and sends to.
    pub followed: Vec<u32>,
    /// Of the decode workers; this sidecar binds the sessions whose home it is.
    pub members: Vec<Member>,
    /// By the round's serial.
    pub inflight: InFlight<u64>,
}

/// The prefill workers that each sidecar follows, as in production.
pub(super) fn followed(prefill_workers: u32, sidecars: u32) -> Vec<Vec<u32>> {
    let names =
        |kind: &str, count: u32| -> Vec<String> { (0..count).map(|n| format!("{kind}-{n}")).collect() };
    let (workers, sidecars) = (names("prefill", prefill_workers), names("sidecar", sidecars));
    let follow = |sidecar: &String| {
        let mut chosen: Vec<u32> = rendezvous::subset(sidecar, &sidecars, &workers, rendezvous::FOLLOWED)
            .into_iter()
            .map(|worker| worker as u32)
            .collect();
        chosen.sort_unstable();
        chosen
    };
    sidecars.iter().map(follow).collect()
}

impl Member {
    pub(super) fn new(free_kv_tokens: u64) -> Self {
        let candidate =
            BindCandidate { free_kv_tokens, sessions: 0, running: 0, itl_share: 0.0, ready: true };
        Self {
            candidate,
            moves: MoveCandidate::default(),
            at_s: f64::NEG_INFINITY,
            mean_context: 0.0,
            step_s: 0.0,
            modelled_s: 0.0,
            backlog_s: 0.0,
            bound: 0,
            bound_tokens: 0,
        }
    }

    /// What binding sees: what was heard, and what was bound since.
    pub(super) fn seen(&self) -> BindCandidate {
        BindCandidate {
            free_kv_tokens: self.candidate.free_kv_tokens.saturating_sub(self.bound_tokens),
            sessions: self.candidate.sessions + self.bound,
            ..self.candidate
        }
    }
}

//! The decode workers with their sidecars: who lives, and who has room for a session. Whoever the topology does not name is
//! not there, whatever others say.

use std::collections::HashMap;

use ampd_perfmodel::{PerfModel, sane};
use ampd_scheduler::{BindCandidate, MoveCandidate};
use parking_lot::Mutex;

use super::clock::Clock;
use super::health::{Failure, Health};
use super::wire::MemberStatus;
use crate::topology::{DecodeMember, Topology};

/// One of whom nothing is known.
const UNKNOWN: BindCandidate =
    BindCandidate { free_kv_tokens: 0, sessions: 0, running: 0, itl_share: 0.0, ready: false };

/// What is known of the decode members, by name.
#[derive(Debug)]
pub(super) struct Members {
    clock: Clock,
    members: Mutex<HashMap<String, Member>>,
}

#[derive(Debug)]
struct Member {
    health: Health,
    /// Its last status and when that was true.
    status: Option<(MemberStatus, f64)>,
    /// Sessions bound since then: when, and the tokens of KV that each will need.
    bound: Vec<(f64, u64)>,
    /// When sessions were moved there since then, each for a round.
    moved: Vec<f64>,
    /// Until when none moves there: one did not get through.
    shunned_s: f64,
}

/// How long nobody moves to a member after a move that failed, seconds: each that fails costs its round the time.
const SHUNNED_S: f64 = 10.0;

impl Member {
    /// Nobody is taken for gone before a call has failed.
    fn new(now_s: f64) -> Self {
        Self {
            health: Health::new(true, now_s),
            status: None,
            bound: Vec::new(),
            moved: Vec::new(),
            shunned_s: 0.0,
        }
    }

    fn candidate(&self, now_s: f64) -> BindCandidate {
        let unheard = BindCandidate { ready: true, ..UNKNOWN };
        let known = self.status.as_ref().map_or(unheard, |(status, at_s)| BindCandidate {
            free_kv_tokens: status.free_kv_tokens,
            sessions: status.live_sessions.unwrap_or(status.sessions),
            running: status.running,
            itl_share: 0.0,
            // One that answers may itself have lost sight of its worker.
            ready: status.ready && now_s - at_s <= 2.0 * self.health.silence_s(),
        });
        let promised: u64 = self.bound.iter().map(|(_, tokens)| tokens).sum();
        BindCandidate {
            free_kv_tokens: known.free_kv_tokens.saturating_sub(promised),
            sessions: known.sessions.saturating_add(self.bound.len() as u32),
            ready: known.ready && self.health.alive(),
            ..known
        }
    }

    fn move_candidate(&self, now_s: f64, model: &PerfModel) -> Option<MoveCandidate> {
        let (status, at_s) = self.status.as_ref()?;
        // Members of another version do not tell what this takes.
        let rounds = status.open_rounds?;
        let BindCandidate { free_kv_tokens, ready, .. } = self.candidate(now_s);
        Some(MoveCandidate {
            rounds,
            round_tokens: status.round_kv_tokens,
            live_tokens: status.round_kv_tokens.saturating_add(status.idle_kv_tokens),
            free_tokens: free_kv_tokens,
            step_ratio: model.step_ratio(status.reference_step_s),
            age_s: now_s - at_s,
            sent: self.moved.len() as u32,
            ready: ready && now_s >= self.shunned_s,
        })
    }
}

impl Members {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, members: Mutex::default() }
    }

    /// Knows exactly the members that the topology names, each of which is asked once in `every_s` seconds.
    pub(super) fn keep(&self, topology: &Topology, every_s: f64) {
        let now_s = self.clock.now_s();
        let mut members = self.members.lock();
        let mut before = std::mem::take(&mut *members);
        for DecodeMember { name, .. } in &topology.decode {
            let mut member = before.remove(name).unwrap_or_else(|| Member::new(now_s));
            member.health.asked_every(every_s);
            members.insert(name.clone(), member);
        }
    }

    /// Takes in a status that came just now.
    pub(super) fn answered(&self, status: MemberStatus) {
        let now_s = self.clock.now_s();
        let at_s = now_s - status.age_ms as f64 / 1e3;
        self.with(&status.name.clone(), |member| {
            member.health.answered(now_s);
            member.bound.retain(|(bound_s, _)| *bound_s >= at_s);
            member.moved.retain(|moved_s| *moved_s >= at_s);
            member.status = Some((status, at_s));
        });
    }

    /// Takes in a call that failed.
    pub(super) fn failed(&self, name: &str, failure: Failure) {
        let now_s = self.clock.now_s();
        if self.with(name, |member| member.health.failed(failure, now_s)) == Some(true) {
            tracing::warn!(member = name, ?failure, "a decode member is gone");
        }
    }

    /// Whether the member's sidecar answers, as far as is known.
    pub(super) fn alive(&self, name: &str) -> bool {
        self.with(name, |member| member.health.alive()) == Some(true)
    }

    /// Notes a session that was bound to a member and will need `tokens` of KV.
    pub(super) fn bound(&self, name: &str, tokens: u64) {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.bound.push((now_s, tokens)));
    }

    /// Notes a session that was moved to a member for its next round.
    pub(super) fn moved(&self, name: &str) {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.moved.push(now_s));
    }

    /// Notes that a session could not be moved to a member.
    pub(super) fn did_not_move(&self, name: &str) {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.shunned_s = now_s + SHUNNED_S);
    }

    /// What is known of a member to which a session might move; one of which too little is known takes none.
    pub(super) fn move_candidate(&self, name: &str, model: &PerfModel) -> MoveCandidate {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.move_candidate(now_s, model)).flatten().unwrap_or_default()
    }

    /// Whether the member takes sessions, as far as is known.
    pub(super) fn ready(&self, name: &str) -> bool {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.candidate(now_s).ready) == Some(true)
    }

    /// The same, where it has said so itself.
    pub(super) fn is_heard_ready(&self, name: &str) -> bool {
        let now_s = self.clock.now_s();
        self.with(name, |member| member.status.is_some() && member.candidate(now_s).ready) == Some(true)
    }

    /// What binding sees of a member, whose rounds have this ITL objective, seconds.
    pub(super) fn candidate(&self, name: &str, model: &PerfModel, itl_s: f64) -> BindCandidate {
        let now_s = self.clock.now_s();
        let candidate = self.with(name, |member| BindCandidate {
            itl_share: member.status.as_ref().map_or(0.0, |(status, _)| sane(step_s(status, model) / itl_s)),
            ..member.candidate(now_s)
        });
        candidate.unwrap_or(UNKNOWN)
    }

    /// Tokens of KV that the largest member has room for; 0 where none has told.
    pub(super) fn kv_tokens(&self) -> u64 {
        let members = self.members.lock();
        members
            .values()
            .filter_map(|member| member.status.as_ref())
            .map(|(s, _)| s.kv_tokens)
            .max()
            .unwrap_or(0)
    }

    /// The shortest predicted step with one session more, and the shortest backlog of local prefills, seconds, over the
    /// members that take sessions; infinite when none does. Each session bound since a member's last word counts as a
    /// round that decodes, and what was measured counts where it is more than what is predicted.
    pub(super) fn forecast(&self, model: &PerfModel) -> (f64, f64) {
        let now_s = self.clock.now_s();
        let mut least = (f64::INFINITY, f64::INFINITY);
        for member in self.members.lock().values().filter(|member| member.candidate(now_s).ready) {
            let (step_s, backlog_s) = member.status.as_ref().map_or((0.0, 0.0), |(status, _)| {
                let rows = f64::from(status.running) + 1.0;
                let alone_s = model.decode_s(rows, status.mean_context);
                let with_s = model.decode_s(rows + member.bound.len() as f64, status.mean_context);
                (sane(step_s(status, model) * with_s / alone_s), sane(status.backlog_s))
            });
            least = (least.0.min(step_s), least.1.min(backlog_s));
        }
        least
    }

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&mut Member) -> T) -> Option<T> {
        self.members.lock().get_mut(name).map(use_it)
    }
}

/// The predicted step with one round more, or the measured one where that is longer: prefills beside show in it.
fn step_s(status: &MemberStatus, model: &PerfModel) -> f64 {
    let predicted_s = model.decode_s(f64::from(status.running) + 1.0, status.mean_context);
    predicted_s.max(sane(status.windowed_itl_s.unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{DecodeSegment, Transfer};

    use super::*;

    fn status(name: &str, free_kv_tokens: u64, ready: bool, age_ms: u64) -> MemberStatus {
        MemberStatus {
            name: name.into(),
            ready,
            free_kv_tokens,
            kv_tokens: 0,
            sessions: 1,
            live_sessions: None,
            running: 0,
            mean_context: 0.0,
            windowed_itl_s: None,
            backlog_s: 0.0,
            open_rounds: None,
            round_kv_tokens: 0,
            idle_kv_tokens: 0,
            reference_step_s: 0.0,
            age_ms,
        }
    }

    /// A second for each row.
    fn model() -> PerfModel {
        PerfModel {
            prefill: Vec::new(),
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.0, k1: 1.0, k2: 0.0 }],
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        }
    }

    fn members(names: &[&str]) -> Members {
        let members = Members::new(Clock::new());
        members.keep(&topology(names), 0.25);
        members
    }

    fn topology(names: &[&str]) -> Topology {
        let member = |name: &&str| DecodeMember {
            name: (*name).into(),
            worker_url: String::new(),
            sidecar_url: String::new(),
            kv_addr: String::new(),
            ends: false,
        };
        Topology { decode: names.iter().map(member).collect(), ..Topology::default() }
    }

    #[test]
    fn sessions_bound_since_the_status_count_until_the_next() {
        let members = members(&["a"]);
        members.answered(status("a", 1000, true, 0));
        members.bound("a", 300);
        let candidate = members.candidate("a", &model(), 10.0);
        assert_eq!((candidate.free_kv_tokens, candidate.sessions, candidate.ready), (700, 2, true));
        members.answered(status("a", 800, true, 0));
        assert_eq!(members.candidate("a", &model(), 10.0).free_kv_tokens, 800);
    }

    #[test]
    fn neither_the_gone_nor_the_unready_nor_the_unseen_get_sessions() {
        let members = members(&["a", "b"]);
        assert!(members.alive("a") && members.ready("a") && !members.is_heard_ready("a"));
        members.answered(status("a", 1000, true, 0));
        assert!(members.is_heard_ready("a"));
        members.answered(status("a", 1000, false, 0));
        assert!(members.alive("a") && !members.ready("a"));
        members.answered(status("a", 1000, true, 5000));
        assert!(!members.ready("a"));
        members.answered(status("b", 1000, true, 0));
        members.failed("b", Failure::Refused);
        assert!(!members.alive("b") && !members.ready("b"));
    }

    #[test]
    fn a_forecast_is_that_of_the_least_loaded_member() {
        let model = model();
        let members = members(&["a", "b"]);
        let busy =
            |name, running, backlog_s| MemberStatus { running, backlog_s, ..status(name, 100, true, 0) };
        members.answered(busy("a", 3, 0.5));
        members.answered(busy("b", 5, 0.2));
        assert_eq!(members.forecast(&model), (4.0, 0.2));
        members.bound("a", 10);
        members.bound("a", 10);
        members.bound("a", 10);
        assert_eq!(members.forecast(&model), (6.0, 0.2));
        members.answered(MemberStatus { windowed_itl_s: Some(9.0), ..busy("b", 5, 0.2) });
        assert_eq!(members.forecast(&model), (7.0, 0.2));
        members.failed("a", Failure::Refused);
        members.failed("b", Failure::Refused);
        assert_eq!(members.forecast(&model), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn a_slow_member_is_known_by_its_steps() {
        let members = members(&["a"]);
        assert_eq!(members.candidate("a", &model(), 10.0).itl_share, 0.0);
        members.answered(MemberStatus { running: 3, ..status("a", 100, true, 0) });
        assert_eq!(members.candidate("a", &model(), 10.0).itl_share, 0.4);
        members.answered(MemberStatus { windowed_itl_s: Some(9.0), ..status("a", 100, true, 0) });
        assert_eq!(members.candidate("a", &model(), 10.0).itl_share, 0.9);
    }

    #[test]
    fn a_member_takes_moves_when_it_tells_enough() {
        let members = members(&["a"]);
        let candidate = || members.move_candidate("a", &model());
        assert!(!candidate().ready);
        members.answered(status("a", 100, true, 0));
        assert!(!candidate().ready);
        // Steps of reference have 8 rows: it is twice as slow as the model.
        let told = MemberStatus {
            open_rounds: Some(3),
            round_kv_tokens: 20,
            idle_kv_tokens: 10,
            reference_step_s: 16.0,
            ..status("a", 100, true, 400)
        };
        members.answered(told.clone());
        members.moved("a");
        members.bound("a", 40);
        let found = candidate();
        assert!((0.4..5.0).contains(&found.age_s), "{found:?}");
        let expected = MoveCandidate {
            rounds: 3,
            round_tokens: 20,
            live_tokens: 30,
            free_tokens: 60,
            step_ratio: 2.0,
            age_s: found.age_s,
            sent: 1,
            ready: true,
        };
        assert_eq!(found, expected);
        members.answered(MemberStatus { age_ms: 0, ..told });
        assert_eq!((candidate().sent, candidate().free_tokens, candidate().ready), (0, 100, true));
        members.did_not_move("a");
        assert!(!candidate().ready && members.ready("a"));
    }

    #[test]
    fn only_the_topology_makes_members() {
        let members = members(&["a"]);
        members.answered(status("a", 1000, true, 0));
        members.answered(status("x", 1000, true, 0));
        members.bound("x", 10);
        assert!(!members.alive("x") && !members.ready("x"));
        members.keep(&topology(&["a", "x"]), 0.25);
        assert_eq!(members.candidate("a", &model(), 10.0).free_kv_tokens, 1000);
        assert!(members.alive("x") && members.ready("x"));
        members.keep(&topology(&["x"]), 0.25);
        assert!(!members.alive("a") && !members.ready("a"));
    }
}

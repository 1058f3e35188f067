//! Readings of the workers' loads.

use super::events::Event;
use super::sidecar::{Member, Sidecar, Signal};
use super::{LIVE_S, Sim};

impl Sim<'_> {
    /// A sidecar reads the workers that it follows, and lets in who waited for better news.
    pub(super) fn poll(&mut self, sidecar: u32) {
        for place in 0..self.sidecars[sidecar as usize].followed.len() {
            let worker = self.sidecars[sidecar as usize].followed[place];
            self.read_signal(sidecar, worker);
        }
        if self.setup.policies.signals.calibration {
            let decode = &mut self.decodes[sidecar as usize];
            decode.model = self.setup.model.calibrated(&decode.calibration);
            decode.prefill_ratio = decode.calibration.prefill_ratio();
        }
        for worker in 0..self.decodes.len() {
            self.sidecars[sidecar as usize].members[worker] = self.member(worker);
        }
        self.let_in_held(sidecar);
        self.events.at(self.now_s + self.setup.policies.signals.poll_s, Event::Poll { sidecar });
    }

    /// Reads one prefill worker.
    pub(super) fn read_signal(&mut self, sidecar: u32, worker: u32) {
        let budget = self.setup.cluster.engine.prefill_budget;
        let prefill = &mut self.prefills[worker as usize];
        let signals = &self.setup.policies.signals;
        // A ratio of many steps hardly moves between two readings.
        if signals.calibration && self.now_s >= prefill.calibrated_s + signals.poll_s {
            prefill.calibrated_s = self.now_s;
            prefill.model = self.setup.prefill_type().model.calibrated(&prefill.calibration);
        }
        let signal = &mut self.sidecars[sidecar as usize].signals[worker as usize];
        *signal = if prefill.alive {
            Signal {
                at_s: self.now_s,
                backlog_s: prefill.backlog_s(self.now_s, budget),
                windowed_ttft_s: prefill.ttft.mean(self.now_s),
                ratio: if self.setup.policies.signals.calibration {
                    prefill.calibration.prefill_ratio()
                } else {
                    1.0
                },
                alive: true,
            }
        } else {
            Signal { alive: false, ..*signal }
        };
    }

    /// The seconds of work that each prefill worker is believed to get a second from other sidecars.
    pub(super) fn others(&self, sidecar: u32) -> f64 {
        let Sidecar { signals, inflight, .. } = &self.sidecars[sidecar as usize];
        inflight.others(self.sidecars.len(), signals.len(), self.now_s)
    }

    /// The backlog of a prefill worker as a sidecar knows it: its signal and, where they count, own dispatches since, while
    /// others send it `others` seconds of work a second.
    pub(super) fn known_backlog_s(&self, sidecar: u32, worker: u32, others: f64) -> f64 {
        let Sidecar { signals, inflight, .. } = &self.sidecars[sidecar as usize];
        let signal = &signals[worker as usize];
        inflight.backlog_s(u64::from(worker), (signal.backlog_s, signal.at_s), others, self.now_s)
    }

    fn member(&mut self, worker: usize) -> Member {
        let moves = self.move_candidate(worker);
        let decode = &mut self.decodes[worker];
        let sessions = decode.live_sessions(self.now_s, LIVE_S, &mut self.sessions);
        let rows = decode.rows.len() as f64;
        // Prefills beside the rows show in what was measured.
        let step_s = decode.model.decode_s(rows + 1.0, decode.mean_context());
        let measured_s = decode.itl.mean(self.now_s).unwrap_or(0.0);
        let mut member = Member::new(decode.kv.available_tokens());
        (member.moves, member.at_s) = (moves, self.now_s);
        member.candidate.sessions = sessions;
        member.candidate.running = decode.rows.len() as u32;
        member.candidate.ready = decode.alive;
        member.mean_context = decode.mean_context();
        member.modelled_s = step_s;
        member.step_s = step_s.max(measured_s);
        member.candidate.itl_share = member.step_s / self.setup.slo.itl_s;
        member.backlog_s = decode.backlog_s();
        member
    }
}

//! Who is let in, and when.

use ampd_scheduler::{Admission, Forecast};

use super::Sim;

impl Sim<'_> {
    /// Whether a new session is let in now. One that is not has been refused, or waits.
    pub(super) fn let_in(&mut self, session: u32, arrival_s: f64) -> bool {
        let home = self.home(session);
        match self.setup.policies.overload.admit(&self.forecast(home), &self.setup.slo) {
            Admission::Admit => true,
            Admission::BestEffort => {
                self.sessions[session as usize].best_effort = true;
                true
            }
            Admission::Refuse { .. } => {
                self.refused(session, arrival_s);
                false
            }
            Admission::Wait => {
                self.held[home as usize].push((session, arrival_s));
                false
            }
        }
    }

    /// Asks again for the sessions that wait to be let in at this home, until one has to wait on.
    pub(super) fn let_in_held(&mut self, home: u32) {
        while let Some(&(session, arrival_s)) = self.held[home as usize].first() {
            if self.setup.policies.overload.admit(&self.forecast(home), &self.setup.slo) == Admission::Wait {
                return;
            }
            self.held[home as usize].remove(0);
            self.sessions[session as usize].best_effort = false;
            self.arrive(session, arrival_s);
        }
    }

    /// What a new session would meet, as far as its home knows.
    fn forecast(&self, home: u32) -> Forecast {
        let sidecar = &self.sidecars[home as usize];
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let ready = || sidecar.members.iter().filter(|member| member.candidate.ready);
        // Each session bound since adds about a row: the step grows as the model says.
        let model = &self.decodes[home as usize].model;
        let step_s = least(&mut ready().map(|member| {
            let rows = f64::from(member.candidate.running) + 1.0;
            let with = model.decode_s(rows + f64::from(member.bound), member.mean_context);
            member.step_s * with / model.decode_s(rows, member.mean_context)
        }));
        let alive = sidecar.followed.iter().filter(|worker| sidecar.signals[**worker as usize].alive);
        let others = self.others(home);
        let mut waits = alive.map(|worker| self.known_backlog_s(home, *worker, others)).peekable();
        let prefill_wait_s = if waits.peek().is_some() {
            least(&mut waits)
        } else {
            least(&mut ready().map(|member| member.backlog_s))
        };
        Forecast { prefill_wait_s, step_s }
    }
}

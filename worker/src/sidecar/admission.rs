//! Who is let in while objectives cannot be met: decided where a session is bound, once, at its first round.

use std::time::{Duration, Instant};

use ampd_scheduler::{Admission, Forecast, Overload};

use super::state::Shared;
use super::wire::Refusal;
use crate::protocol::ErrorCode;

/// How long a first round waits at most to be let in.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often it asks.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Shared {
    /// Decides on a session that is new to its home; whether it is let in without objectives.
    pub(super) fn admit(&self) -> Result<bool, Refusal> {
        let (answer, outcome) = match self.config.overload.admit(&self.forecast(), &self.config.slo) {
            Admission::Admit => (Ok(false), "admitted"),
            Admission::BestEffort => (Ok(true), "best_effort"),
            Admission::Refuse { retry_after_s } => (Err(saturated(retry_after_s)), "refused"),
            Admission::Wait => (Err(saturated(ASK_AGAIN.as_secs_f64())), "held"),
        };
        self.metrics.admissions.with([outcome]).inc();
        answer
    }

    /// What a new session would meet, as far as this sidecar knows.
    fn forecast(&self) -> Forecast {
        let model = self.estimate.current();
        let (step_s, backlog_s) = self.members.forecast(&model);
        let followed = self.followed();
        let ready = followed.iter().filter(|worker| self.signals.ready(&worker.name));
        let others = self.expected_of_others();
        let waits = ready.map(|worker| self.signals.load(&worker.name, 0, &model, others).backlog_s);
        // Without a prefill worker all prefills are local.
        let prefill_wait_s = waits.reduce(f64::min).unwrap_or(backlog_s);
        Forecast { prefill_wait_s, step_s }
    }

    /// Waits a little for another try of a first round that was not let in at `asked`, where such rounds wait; false when
    /// it is refused.
    pub(super) async fn waits_to_be_let_in(&self, refusal: &Refusal, asked: Instant) -> bool {
        let waits = self.config.overload == Overload::Queue
            && refusal.error.code == ErrorCode::Saturated
            && asked.elapsed() < LONGEST_WAIT;
        if waits {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        waits
    }
}

fn saturated(retry_after_s: f64) -> Refusal {
    let message = "one session more would have its objectives missed";
    Refusal {
        retry_after_ms: Some((retry_after_s * 1e3) as u64),
        ..Refusal::new(ErrorCode::Saturated, message)
    }
}

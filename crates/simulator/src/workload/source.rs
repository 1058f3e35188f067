//! Where sessions come from: statistics, or a trace.

use std::sync::Arc;

use rand_distr::{Distribution, Uniform};

use super::{Arrivals, Workload, WorkloadError};
use crate::random::stream;
use crate::trace::{Trace, TraceSession};

/// Where sessions come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// They are drawn from statistics.
    Drawn(Workload),
    /// They are those of a trace, in an order that the seed gives, each as often as any other; arrivals are drawn.
    Recorded {
        /// Its name in results.
        name: String,
        /// The sessions.
        trace: Arc<Trace>,
    },
}

impl From<Workload> for Source {
    fn from(workload: Workload) -> Self {
        Self::Drawn(workload)
    }
}

impl Source {
    /// Its name in results.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Drawn(workload) => workload.name,
            Self::Recorded { name, .. } => name,
        }
    }

    /// The sessions that arrive within `duration_s` seconds.
    ///
    /// # Errors
    /// When the arrivals or the sessions cannot be drawn.
    pub fn generate(&self, arrivals: &Arrivals, duration_s: f64, seed: u64) -> Result<Trace, WorkloadError> {
        let (name, trace) = match self {
            Self::Drawn(workload) => return workload.generate(arrivals, duration_s, seed),
            Self::Recorded { name, trace } => (name, trace),
        };
        if !(duration_s.is_finite() && duration_s > 0.0) {
            return Err(WorkloadError::Duration(duration_s));
        }
        let count = trace.sessions.len();
        if count == 0 {
            return Err(WorkloadError::NoSessions);
        }
        let times = arrivals.before(duration_s, &mut stream(seed, "arrivals"))?;
        let mut rng = stream(seed, name);
        let mut deck: Vec<usize> = Vec::new();
        let sessions = times.into_iter().map(|arrival_s| {
            if deck.is_empty() {
                deck = (0..count).collect();
            }
            let pick = Uniform::new(0, deck.len()).map_err(|_| WorkloadError::NoSessions)?.sample(&mut rng);
            let rounds = trace.sessions[deck.swap_remove(pick)].rounds.clone();
            Ok(TraceSession { arrival_s: Some(arrival_s), rounds })
        });
        Ok(Trace { sessions: sessions.collect::<Result<_, WorkloadError>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceRound;

    fn recorded(sessions: u32) -> Source {
        let session = |output| TraceSession {
            arrival_s: None,
            rounds: vec![TraceRound { increment: 1, output, gap_s: 0.0, keep: None }],
        };
        let trace = Trace { sessions: (1..=sessions).map(session).collect() };
        Source::Recorded { name: "a trace".into(), trace: Arc::new(trace) }
    }

    #[test]
    fn recorded_sessions_come_as_often_as_one_another() {
        let trace = recorded(5).generate(&Arrivals::Poisson { rate: 1.0 }, 500.0, 1).unwrap();
        let mut counts = [0; 5];
        for session in &trace.sessions {
            counts[session.rounds[0].output as usize - 1] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1 && trace.sessions.len() > 400, "{counts:?}");
        assert_ne!(trace, recorded(5).generate(&Arrivals::Poisson { rate: 1.0 }, 500.0, 2).unwrap());
    }

    #[test]
    fn without_sessions_there_is_nothing_to_draw_from() {
        let error = recorded(0).generate(&Arrivals::Poisson { rate: 1.0 }, 9.0, 1).unwrap_err();
        assert_eq!(error, WorkloadError::NoSessions);
    }
}

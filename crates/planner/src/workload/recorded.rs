//! A workload from a trace.

use std::sync::Arc;

use ampd_simulator::trace::Trace;
use ampd_simulator::workload::{Arrivals, Source};

use super::WorkloadModel;
use crate::PlanError;

/// Sessions without which a trace tells nothing of those that will come.
pub const LEAST_SESSIONS: usize = 10;
/// Bounds of the coefficient of variation of the times between arrivals that is taken from a trace: a few of them say
/// little of it.
const CV: (f64, f64) = (0.2, 4.0);

impl WorkloadModel {
    /// Sessions as those of a trace. They arrive independently of one another, `rate` a second; without a rate, as often as
    /// those of the trace, and in bursts as those did.
    ///
    /// # Errors
    /// When the trace holds too few sessions, or there is no rate and it does not tell one.
    pub fn recorded(name: &str, trace: Trace, rate: Option<f64>) -> Result<Self, PlanError> {
        match trace.sessions.len() {
            0 => return Err(PlanError::NoSessions),
            got if got < LEAST_SESSIONS => {
                return Err(PlanError::TooFewSessions { got, least: LEAST_SESSIONS });
            }
            _ => {}
        }
        if let Some(empty) = trace.sessions.iter().position(|session| session.rounds.is_empty()) {
            return Err(PlanError::EmptySession(empty + 1));
        }
        let arrivals = match rate {
            Some(rate) => Arrivals::Poisson { rate },
            None => arrivals(&trace)?,
        };
        let source = Source::Recorded { name: name.to_owned(), trace: Arc::new(trace) };
        let model = Self { source, arrivals };
        model.check()?;
        Ok(model)
    }
}

/// The rate of a trace's arrivals, and how bursty they are.
fn arrivals(trace: &Trace) -> Result<Arrivals, PlanError> {
    let mut times = Vec::with_capacity(trace.sessions.len());
    for (index, session) in trace.sessions.iter().enumerate() {
        times.push(session.arrival_s.ok_or(PlanError::NoArrival(index + 1))?);
    }
    times.sort_by(f64::total_cmp);
    let between: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let count = between.len() as f64;
    let mean = between.iter().sum::<f64>() / count;
    if !(mean.is_finite() && mean > 0.0) {
        return Err(PlanError::NoRate);
    }
    let variance = between.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let cv = (variance.sqrt() / mean).clamp(CV.0, CV.1);
    Ok(Arrivals::Gamma { rate: 1.0 / mean, cv })
}

#[cfg(test)]
mod tests {
    use ampd_simulator::trace::{TraceRound, TraceSession};

    use super::*;

    fn trace(times: &[Option<f64>]) -> Trace {
        let round = TraceRound { increment: 9, output: 9, gap_s: 0.0, keep: None };
        let session = |arrival_s: &Option<f64>| TraceSession { arrival_s: *arrival_s, rounds: vec![round] };
        Trace { sessions: times.iter().map(session).collect() }
    }

    #[test]
    fn a_trace_tells_its_rate_and_its_bursts() {
        let even: Vec<_> = (0..21).map(|n| Some(f64::from(n) / 2.0)).collect();
        let model = WorkloadModel::recorded("even", trace(&even), None).unwrap();
        assert_eq!(model.arrivals, Arrivals::Gamma { rate: 2.0, cv: 0.2 });
        let bursts: Vec<_> = (0..40).map(|n| Some(f64::from(n / 10) * 10.0)).collect();
        let model = WorkloadModel::recorded("bursts", trace(&bursts), None).unwrap();
        let Arrivals::Gamma { rate, cv } = model.arrivals else { unreachable!() };
        assert!((rate - 1.3).abs() < 1e-9 && cv > 2.0, "{rate} {cv}");
        let twice = model.times(2.0).unwrap();
        assert!((twice.arrivals.rate() - 2.6).abs() < 1e-9);
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let refused = |times: &[Option<f64>]| WorkloadModel::recorded("x", trace(times), None).unwrap_err();
        assert!(matches!(refused(&[]), PlanError::NoSessions));
        assert!(matches!(refused(&[Some(1.0)]), PlanError::TooFewSessions { got: 1, .. }));
        assert!(matches!(refused(&[Some(1.0); 12]), PlanError::NoRate));
        let mut unknown = vec![Some(1.0); 12];
        unknown[3] = None;
        assert!(matches!(refused(&unknown), PlanError::NoArrival(4)));
        assert!(WorkloadModel::recorded("x", trace(&unknown), Some(1.0)).is_ok());
        let none = WorkloadModel::recorded("x", trace(&unknown), Some(f64::NAN)).unwrap_err();
        assert!(none.to_string().contains("the rate is NaN"), "{none}");
    }
}

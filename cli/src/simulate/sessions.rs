//! The sessions that come, with their arrivals.

use std::path::Path;
use std::sync::Arc;

use ampd_simulator::trace::Trace;
use ampd_simulator::workload::{Arrivals, Source, WorkloadError};

use super::Args;
use crate::evaluate::{InputError, MISSING_GAP_S, trace};

/// The trace with its own arrivals, or as many of its sessions as there are, in the mean, at the rate that was asked for.
pub(super) fn of(path: &Path, args: &Args) -> Result<Trace, InputError> {
    let trace = trace(path, MISSING_GAP_S)?;
    let Some(rate) = args.rate else {
        return match trace.sessions.iter().position(|session| session.arrival_s.is_none()) {
            Some(index) => Err(InputError::NoArrival(index + 1)),
            None => Ok(trace),
        };
    };
    if !(rate.is_finite() && rate > 0.0) {
        return Err(WorkloadError::Rate(rate).into());
    }
    let duration_s = trace.sessions.len() as f64 / rate;
    let source = Source::Recorded { name: path.display().to_string(), trace: Arc::new(trace) };
    Ok(source.generate(&Arrivals::Poisson { rate }, duration_s, args.seed)?)
}

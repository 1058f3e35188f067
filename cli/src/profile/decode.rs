//! Times of decode steps.

use std::time::Instant;

use ampd_engine::core::{Event, NoHook};
use anyhow::bail;

use super::bench::Bench;

/// Steps measured at one size at most.
pub(super) const MAX_STEPS: usize = 6;

/// Seconds of each of a few decode steps of `batch` rows with a context of about `context` tokens.
pub(super) fn measure(bench: &mut Bench, batch: usize, context: usize) -> anyhow::Result<Vec<f64>> {
    let mut rounds = Vec::with_capacity(batch);
    for _ in 0..batch {
        let (id, session) = bench.open(context, MAX_STEPS + 1)?;
        let range = bench.engine.lease_remote(id, Instant::now())?;
        let zeros = bench.zeros(range.end - range.history);
        for layer in 0..bench.engine.kv_shape().layers {
            bench.engine.write_remote(id, layer, range.history..range.end, &zeros)?;
        }
        bench.engine.commit_remote(id, Instant::now())?;
        rounds.push((id, session));
    }
    let mut times = Vec::with_capacity(MAX_STEPS);
    while bench.engine.has_work() {
        let start = Instant::now();
        let report = bench.engine.step(start, &mut NoHook)?;
        let seconds = start.elapsed().as_secs_f64();
        if let Some(Event::Failed { error, .. }) =
            report.events.iter().find(|e| matches!(e, Event::Failed { .. }))
        {
            bail!("a decode step failed: {error}");
        }
        // The first step computes the prompts' last tokens, which counts as prefill.
        if report.decode_rows == batch && report.prefill_rows == 0 {
            times.push(seconds);
        }
        if report.is_idle() {
            bail!("{batch} rounds of {context} tokens make no progress");
        }
    }
    for (id, session) in rounds {
        bench.end(id, &session);
    }
    Ok(times)
}

//! Times of prefills.

use std::time::Instant;

use ampd_engine::core::{Event, NoHook};
use anyhow::bail;

use super::bench::Bench;

/// Seconds to prefill `increment` tokens on a history of `history`.
pub(super) fn measure(bench: &mut Bench, history: usize, increment: usize) -> anyhow::Result<f64> {
    let (tokens, salt) = (bench.tokens(history + increment), bench.salt());
    let opened = bench.engine.open_prefill(tokens, salt, Instant::now())?;
    if history > 0 {
        let zeros = bench.zeros(history);
        for layer in 0..bench.engine.kv_shape().layers {
            bench.engine.import(opened.id, layer, 0..history, &zeros)?;
        }
    }
    let start = Instant::now();
    bench.engine.start_prefill(opened.id, history, start)?;
    loop {
        let report = bench.engine.step(Instant::now(), &mut NoHook)?;
        for event in &report.events {
            match event {
                Event::PrefillDone { .. } => return Ok(start.elapsed().as_secs_f64()),
                Event::Failed { error, .. } => bail!("a prefill failed: {error}"),
                _ => {}
            }
        }
        if report.is_idle() {
            bail!("a prefill of {history} + {increment} tokens makes no progress");
        }
    }
}

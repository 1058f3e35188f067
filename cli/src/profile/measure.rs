//! Measures one model on this machine and fits a performance model.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use ampd_engine::BackendKind;
use ampd_engine::model::{self, Model};
use ampd_perfmodel::{DecodePoint, FORMAT_VERSION, Points, PrefillPoint, Profile, TransferPoint};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::bench::Bench;
use super::{decode, grid, hardware, prefill, transfer};
use crate::model::file_name;

/// Points of each kind that are measured whatever the time: what the fit needs.
const NEEDED: usize = 4;
/// Passes over a grid at most.
const MAX_PASSES: usize = 5;
/// Shares of the time for prefills and decode steps; the rest is for transfers.
const SHARES: (f64, f64) = (0.6, 0.3);

/// What is to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The model's file or folder.
    pub(crate) model: PathBuf,
    /// Compute backend.
    pub(crate) backend: BackendKind,
    /// Engine threads.
    pub(crate) threads: usize,
    /// How long it may take; slow machines take longer, for the points that a fit needs.
    pub(crate) budget: Duration,
    /// The larger grid.
    pub(crate) full: bool,
}

/// Lower-case hexadecimal digits of a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Loads and measures a model, with progress on standard error. `None` when `stop` said so.
pub(crate) fn measure(request: &Request, stop: &dyn Fn() -> bool) -> anyhow::Result<Option<Profile>> {
    let loaded = model::load(&request.model).context("cannot load the model")?;
    measure_loaded(&loaded, request, stop)
}

/// Measures a loaded model.
pub(crate) fn measure_loaded(
    model: &Model,
    request: &Request,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Profile>> {
    let mut bench = Bench::new(model, request.backend, request.threads)?;
    let (context, pool) = (model.config.max_context, bench.pool_tokens());
    // Everything is touched once before the clock counts: weights and pool are then in memory.
    let warm = 64.min(context / 2).max(1);
    prefill::measure(&mut bench, 0, warm)?;
    let bar = ProgressBar::new(100);
    bar.set_style(ProgressStyle::with_template("measuring {msg} [{bar:30}] {percent}%")?);
    let progress = Progress { start: Instant::now(), budget: request.budget, bar: &bar, stop };
    let mut points = Points::default();

    let prefills = grid::prefills(request.full, context, pool);
    let deadline = request.budget.mul_f64(SHARES.0);
    let done = progress.measure("prefill", &prefills, deadline, |(history, increment)| {
        Ok(vec![prefill::measure(&mut bench, history, increment)?])
    })?;
    let Some(done) = done else { return Ok(None) };
    points.prefill.extend(done.into_iter().map(|((history, increment), seconds)| PrefillPoint {
        history: history as u64,
        increment: increment as u64,
        seconds,
    }));

    let decodes = grid::decodes(request.full, context, pool);
    let deadline = request.budget.mul_f64(SHARES.0 + SHARES.1);
    let done = progress.measure("decode", &decodes, deadline, |(batch, context)| {
        decode::measure(&mut bench, batch, context)
    })?;
    let Some(done) = done else { return Ok(None) };
    points.decode.extend(done.into_iter().map(|((batch, context), seconds)| DecodePoint {
        batch: batch as u64,
        // The steps measured at one size see the context grow by one token each.
        context: (context + decode::MAX_STEPS / 2) as u64,
        seconds,
    }));

    let bytes_per_token = bench.engine.kv_shape().token_bytes();
    let link = transfer::Link::new(bench, model.digest)?;
    let transfers = grid::transfers(request.full, context, pool);
    let done =
        progress.measure("transfer", &transfers, request.budget, |tokens| Ok(vec![link.measure(tokens)?]))?;
    let Some(done) = done else { return Ok(None) };
    points
        .transfer
        .extend(done.into_iter().map(|(tokens, seconds)| TransferPoint { tokens: tokens as u64, seconds }));
    bar.finish_and_clear();

    let (perf, residuals) = ampd_perfmodel::fit(&points, bytes_per_token as f64)?;
    let profile = Profile {
        format: FORMAT_VERSION,
        model: file_name(&request.model),
        model_digest: hex(&model.digest),
        hardware: hardware::describe(),
        backend: request.backend.to_string(),
        threads: request.threads as u32,
        theta: 1,
        created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        perf,
        residuals,
        points,
    };
    Ok(Some(profile))
}

struct Progress<'a> {
    start: Instant,
    budget: Duration,
    bar: &'a ProgressBar,
    stop: &'a dyn Fn() -> bool,
}

impl Progress<'_> {
    /// Measures sizes in passes until `deadline` (from the start), each as the median of what it took; sizes that the
    /// first pass has no time for are left out once there are enough.
    fn measure<S: Copy>(
        &self,
        what: &'static str,
        sizes: &[S],
        deadline: Duration,
        mut one: impl FnMut(S) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<Option<Vec<(S, f64)>>> {
        self.bar.set_message(what);
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); sizes.len()];
        'passes: for pass in 0..MAX_PASSES {
            for (index, size) in sizes.iter().enumerate() {
                if (self.stop)() {
                    return Ok(None);
                }
                if self.start.elapsed() >= deadline && (pass > 0 || index >= NEEDED) {
                    break 'passes;
                }
                times[index].extend(one(*size)?);
                let part = self.start.elapsed().as_secs_f64() / self.budget.as_secs_f64();
                self.bar.set_position((100.0 * part.min(1.0)) as u64);
            }
        }
        let measured = sizes.iter().copied().zip(times).filter(|(_, times)| !times.is_empty());
        Ok(Some(measured.map(|(size, times)| (size, median(times))).collect()))
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

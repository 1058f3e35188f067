//! `ampd profile`: measures how long prefills, decode steps and KV transfers take on this machine.

mod bench;
mod decode;
mod grid;
mod hardware;
mod measure;
mod prefill;
mod report;
mod store;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ampd_engine::BackendKind;
use anyhow::Context as _;

pub(crate) use measure::{Request, hex, measure, measure_loaded};
pub(crate) use store::{cached, keep};

use crate::model::{self, ModelRef};
use crate::{cache, output};

/// How long the measurement of `ampd local` and of a plain `ampd profile` may take.
pub(crate) const SHORT: Duration = Duration::from_secs(15);
/// How long that of `--full` may take.
const FULL: Duration = Duration::from_mins(10);

/// Measures a performance model of this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `smollm2`, a file or folder, or a Hugging Face id (`organisation/name[@revision][:file.gguf]`).
    #[arg(long, default_value = model::DEFAULT)]
    model: ModelRef,
    /// Engine threads; by default all cores. The tensor backend takes `RAYON_NUM_THREADS` instead.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Compute backend: cpu or tensor.
    #[arg(long, default_value = "cpu")]
    backend: BackendKind,
    /// Where to write the profile; by default the cache, where `ampd local` looks for it.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measures a larger grid, more often: minutes instead of seconds.
    #[arg(long)]
    full: bool,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.out {
        // Minutes of measuring would be lost.
        cache::probe(path).with_context(|| format!("--out {}", path.display()))?;
    }
    let path = model::fetch_alone(&args.model)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request = Request {
        model: path,
        backend: args.backend,
        threads: args.threads.map_or(cores, usize::from),
        budget: if args.full { FULL } else { SHORT },
        full: args.full,
    };
    let profile = measure(&request, &|| false)?.context("the measurement was stopped")?;
    let place = match &args.out {
        Some(path) => {
            cache::write_atomically(path, profile.to_json()?.as_bytes())?;
            path.clone()
        }
        None => keep(&profile)?,
    };
    output::print(&report::text(&profile, &place, args.out.is_some()))?;
    Ok(ExitCode::SUCCESS)
}

//! `ampd evaluate`: policies in the simulator, compared, as a document with plots or as JSON.

mod error;
mod plan;
mod run;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) use error::InputError;
pub(crate) use plan::{MISSING_GAP_S, card, cards, policy, trace};

use crate::output;

/// Compares routing policies in the simulator.
///
/// Without `--trace` it runs the published evaluation and writes its document, JSON and plots; with it, the sessions of
/// that trace, and prints tables.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace, one session a line; by default the published models and workloads.
    #[arg(long, requires = "model")]
    trace: Option<PathBuf>,
    /// The worker type that serves the trace, such as qwen3-32b or qwen3-32b/h20/tp4.
    #[arg(long, requires = "trace")]
    model: Option<String>,
    /// Accelerators that serve the trace.
    #[arg(long, default_value_t = 32, requires = "trace")]
    gpus: u32,
    /// Policies; by default all.
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Seeds that results are of.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The folder of the document, its JSON and its plots.
    #[arg(long, default_value = "docs", conflicts_with = "trace")]
    docs: PathBuf,
    /// One small cell and few seeds: seconds, to see that all of it works.
    #[arg(long, conflicts_with = "trace")]
    quick: bool,
    /// Threads, over cells; by default all cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = plan::of(args)?;
    let threads =
        args.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    if let Some(path) = &args.json {
        // Minutes of simulation would be lost.
        crate::cache::probe(path)?;
    }
    let started = Instant::now();
    let results = run::run(&plan, threads)?;
    let took = humantime::format_duration(std::time::Duration::from_secs(started.elapsed().as_secs()));
    if let Some(path) = &args.json {
        write::json(path, &results)?;
    }
    if args.trace.is_some() {
        output::print(&ampd_report::summary(&results))?;
        return Ok(ExitCode::SUCCESS);
    }
    let command = if args.quick { "ampd evaluate --quick" } else { "ampd evaluate" };
    let took = format!("{took} on {threads} threads");
    let written = write::document(&args.docs, &results, command, &took)?;
    output::print(&format!("{}\nwritten to {}\n", ampd_report::summary(&results), written.display()))?;
    Ok(ExitCode::SUCCESS)
}

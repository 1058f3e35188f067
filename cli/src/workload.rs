//! `ampd workload`: sessions of a known workload, as a trace.

use std::process::ExitCode;
use std::time::Duration;

use ampd_simulator::trace;
use ampd_simulator::workload::{Arrivals, Workload};
use anyhow::Context as _;

use crate::output;

/// Prints sessions that are drawn from a workload's published statistics, as a trace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload: toolbench, gaia, hotpotqa or dureader.
    name: String,
    /// Sessions a second, in the mean.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Coefficient of variation of the times between arrivals; 1 is a Poisson process, more is burstier.
    #[arg(long, default_value_t = 1.0)]
    cv: f64,
    /// From the first arrival that may be to the last.
    #[arg(long, default_value = "100s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Seed of arrivals and lengths.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let known = || Workload::PAPER.map(|workload| workload.name).join(", ");
    let workload = Workload::PAPER.into_iter().find(|workload| workload.name == args.name);
    let workload =
        workload.with_context(|| format!("there is no workload {}; there are {}", args.name, known()))?;
    let arrivals = Arrivals::Gamma { rate: args.rate, cv: args.cv };
    let sessions = workload.generate(&arrivals, args.duration.as_secs_f64(), args.seed)?;
    output::print(&trace::write(&sessions)?)?;
    Ok(ExitCode::SUCCESS)
}

//! `ampd simulate`: what a service would do under a trace.

mod compare;
pub(crate) mod deployment;
mod measured;
mod report;
mod sessions;

use std::path::PathBuf;
use std::process::ExitCode;

use ampd_simulator::report::{Span, Summary};
use ampd_simulator::trace::Trace;
use ampd_simulator::{Setup, simulate};

use crate::evaluate::InputError;
use crate::{manifest, output};

/// Tells what a service would do under a trace.
///
/// The service's own policy decides, by signals as old as in production, on as many workers as the manifest has at least.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, an `AMPDService`; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// The trace, one session a line.
    #[arg(long, required_unless_present = "measured")]
    trace: Option<PathBuf>,
    /// A run that `ampd bench --json` wrote, in the trace's place: its rounds are simulated, and both are compared.
    #[arg(long, conflicts_with_all = ["trace", "rate"])]
    measured: Option<PathBuf>,
    /// What a worker is, such as qwen3-32b or qwen3-32b/h20/tp4.
    #[arg(long, required_unless_present = "profile", conflicts_with = "profile")]
    model: Option<String>,
    /// A profile that was measured on a worker, from `ampd profile`.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Cores that all workers share, as those of `ampd local` do where there are fewer than workers; each has its own by
    /// default.
    #[arg(long, requires = "profile", value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// Sessions a second: arrivals are drawn. By default they are the trace's.
    #[arg(long)]
    rate: Option<f64>,
    /// Another policy than the manifest's, as `ampd evaluate` names them.
    #[arg(long)]
    policy: Option<String>,
    /// Seed of arrivals and of the steps' noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let service = manifest::load(Some(&args.file))?;
    let deployment = deployment::of(args, &service)?;
    let measured = args.measured.as_deref().map(measured::read).transpose()?;
    let trace = match (&measured, &args.trace) {
        (Some(rounds), _) => measured::trace(rounds),
        (None, Some(path)) => sessions::of(path, args)?,
        (None, None) => Trace::default(),
    };
    // Whatever the load, every session has ended an hour after the last one has come, or counts as late.
    let last_s = trace.sessions.iter().filter_map(|session| session.arrival_s).fold(0.0, f64::max);
    let setup = Setup {
        cluster: &deployment.cluster,
        policies: &deployment.policies,
        truth: &deployment.truth,
        model: &deployment.model,
        prefill: None,
        slo: deployment.slo,
        trace: &trace,
        faults: &[],
        seed: args.seed,
        until_s: last_s + 3600.0,
    };
    let run = simulate(&setup).map_err(InputError::from)?;
    let span = Span { from_s: 0.0, until_s: run.ended_s.max(f64::MIN_POSITIVE) };
    let summary = Summary::of(&run, &deployment.slo, span);
    let mut text = report::text(&service, &deployment, &run, &summary);
    if let Some(rounds) = &measured {
        text += &compare::text(rounds, &run, &deployment.slo);
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

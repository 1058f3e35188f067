//! `ampd plan`: how many workers of which parallel degree a service needs.

mod report;
mod task;
mod workers;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use ampd_planner::{Goal, Verdict};

use crate::{cache, manifest, output};

/// Tells how many prefill and decode workers of which parallel degree a service needs for its workload.
///
/// Deployments are compared in the simulator, under the service's own policy. It ends with status 1 where no deployment
/// within the bounds meets the objectives, and tells what would.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, an `AMPDService`; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// What comes, one session a line; by default what the manifest declares in `spec.workload`.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Most accelerators; by default the manifest's budget.
    #[arg(long)]
    gpus: Option<u32>,
    /// Sessions a second, as 2.5, or so many times those that come otherwise, as x2.
    #[arg(long)]
    rate: Option<String>,
    /// The worker types: a model that step times are known of, such as qwen3-32b, or one of its types, such as
    /// qwen3-32b/h20/tp4.
    #[arg(long, required_unless_present = "profile", conflicts_with = "profile")]
    model: Option<String>,
    /// A profile that was measured on a worker, from `ampd profile`; one for each parallel degree.
    #[arg(long)]
    profile: Vec<PathBuf>,
    /// What the plan is to be best at.
    #[arg(long, value_enum, default_value = "minimumGpus")]
    objective: Objective,
    /// Rounds that are simulated at most. The plan depends on it, and not on the machine.
    #[arg(long, default_value_t = ampd_planner::Effort::default().rounds)]
    rounds: u64,
    /// Seed of sessions, arrivals and the steps' noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the plan as JSON.
    #[arg(long)]
    json: bool,
    /// Where to draw what was compared, as SVG.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// What the plan is to be best at.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "camelCase")]
enum Objective {
    /// The fewest accelerators that meet the objectives.
    MinimumGpus,
    /// The most rounds that meet them, within the budget.
    BestAttainment,
    /// The least P95 of TTFT and ITL as shares of their objectives, within the budget.
    Balanced,
}

impl From<Objective> for Goal {
    fn from(objective: Objective) -> Self {
        match objective {
            Objective::MinimumGpus => Self::MinimumGpus,
            Objective::BestAttainment => Self::BestAttainment,
            Objective::Balanced => Self::Balanced,
        }
    }
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let (resource, service) = manifest::load_with_resource(Some(&args.file))?;
    let task = task::of(args, &resource, &service)?;
    if let Some(path) = &args.svg {
        cache::probe(path)?;
    }
    let plan = ampd_planner::plan(&task)?;
    if let Some(path) = &args.svg {
        let svg = ampd_report::plan_plot(&plan)?;
        cache::write_atomically(path, svg.as_bytes())?;
    }
    let text = if args.json {
        serde_json::to_string_pretty(&plan)? + "\n"
    } else {
        report::text(&service, &task, &plan)
    };
    output::print(&text)?;
    Ok(if plan.verdict == Verdict::Meets { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

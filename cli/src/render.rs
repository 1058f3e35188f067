//! `ampd render`: what a cluster's operator makes from a manifest.

use std::path::PathBuf;
use std::process::ExitCode;

use ampd_render::{Facts, Input, Settings, children};
use anyhow::bail;

use crate::{manifest, output};

/// Prints the objects that a cluster's operator makes from a manifest, without their owner and without Secrets, which are
/// made of random numbers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, an `AMPDService`; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// The image of workers and sidecars, unless the manifest names its own.
    #[arg(long, default_value_t = Settings::default().worker_image)]
    worker_image: String,
    /// As in a cluster that knows the kinds of the Prometheus operator.
    #[arg(long)]
    prometheus_operator: bool,
}

/// Runs the command.
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let (resource, service) = manifest::load_with_resource(Some(&args.file))?;
    let settings = Settings { worker_image: args.worker_image.clone(), ..Settings::default() };
    let mut facts = Facts::plain(&service);
    facts.pod_monitor = args.prometheus_operator;
    facts.prometheus_rule = args.prometheus_operator;
    facts.surge = match ampd_render::surge(&resource.spec, &facts) {
        Ok(surge) => surge,
        Err(exceeded) => bail!(
            "spec.accelerator.budget.max: is {}, the workers need {} accelerators",
            exceeded.budget,
            exceeded.wanted
        ),
    };
    let input = Input { resource: &resource, service: &service, settings: &settings, facts: &facts };
    output::print(&output::yaml(&children(&input).to_json())?)?;
    Ok(ExitCode::SUCCESS)
}

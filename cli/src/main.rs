//! `ampd`: a service of prefill and decode workers on this machine, performance profiles, manifests and what they become.

mod bench;
mod cache;
mod check;
mod crd;
mod evaluate;
mod fetch;
mod local;
mod manifest;
mod model;
mod output;
mod plan;
mod profile;
mod render;
mod simulate;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Multi-round LLM inference with prefill and decode on separate workers.
#[derive(Debug, Parser)]
#[command(name = "ampd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a service on this machine.
    Local(local::Args),
    /// Measures a performance model of this machine.
    Profile(profile::Args),
    /// Replays a trace of multi-round sessions against a service and tells how many rounds met their objectives.
    Bench(bench::Args),
    /// Compares routing policies in the simulator.
    Evaluate(evaluate::Args),
    /// Tells what a service would do under a trace.
    Simulate(simulate::Args),
    /// Tells how many workers of which parallel degree a service needs.
    Plan(plan::Args),
    /// Prints the sessions of a known workload, as a trace.
    Workload(workload::Args),
    /// Checks a manifest.
    Check(check::Args),
    /// Prints the definitions that make the resources known to a cluster.
    Crd,
    /// Prints the objects that a cluster's operator makes from a manifest.
    Render(render::Args),
    /// Gets a model and prints where it is, for scripts.
    #[command(hide = true)]
    Fetch(fetch::Args),
    /// Runs an engine worker, as `ampd local` starts it.
    #[command(hide = true)]
    Worker(Box<ampd_worker::server::Args>),
    /// Runs the scheduler beside a decode worker, as `ampd local` starts it.
    #[command(hide = true)]
    Sidecar(Box<ampd_worker::sidecar::Args>),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Local(args) => local::main(args),
        Command::Profile(args) => profile::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Evaluate(args) => evaluate::main(&args),
        Command::Simulate(args) => simulate::main(&args),
        Command::Plan(args) => plan::main(&args),
        Command::Workload(args) => workload::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Crd => crd::main(),
        Command::Render(args) => render::main(&args),
        Command::Fetch(args) => fetch::main(&args),
        Command::Worker(args) => return ampd_worker::server::main(*args),
        Command::Sidecar(args) => return ampd_worker::sidecar::main(*args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

//! Starts `ampd-sidecar`.

use std::process::ExitCode;

use ampd_worker::sidecar;
use clap::Parser;

/// The scheduler beside an AMPD decode worker.
#[derive(Parser)]
#[command(name = "ampd-sidecar", version)]
struct Cli {
    #[command(flatten)]
    args: sidecar::Args,
}

fn main() -> ExitCode {
    sidecar::main(Cli::parse().args)
}

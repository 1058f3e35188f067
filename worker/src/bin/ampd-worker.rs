//! Starts `ampd-worker`.

use std::process::ExitCode;

use clap::Parser;

/// Runs an engine worker.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: ampd_worker::server::Args,
}

fn main() -> ExitCode {
    ampd_worker::server::main(Cli::parse().args)
}

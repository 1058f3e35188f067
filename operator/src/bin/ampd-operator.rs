//! Runs services on Kubernetes.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ampd_operator::main(ampd_operator::Args::parse())
}

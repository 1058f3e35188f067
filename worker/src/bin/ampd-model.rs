//! Starts `ampd-model`.

use std::process::ExitCode;

use ampd_worker::model_fetch;
use clap::Parser;

/// Brings models to where workers load them.
#[derive(Parser)]
#[command(name = "ampd-model", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Fetches a model from Hugging Face into a folder, which several may do at once with the same one.
    Fetch(model_fetch::Args),
}

fn main() -> ExitCode {
    let Command::Fetch(args) = Cli::parse().command;
    model_fetch::main(args)
}

//! Project tasks: `cargo xtask test` checks and tests everything.

mod cache;
mod command;
mod deny;
mod model;
mod python;
mod steps;
mod test;

use clap::{Parser, Subcommand};

/// Project tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Checks format and lints, runs all tests with what they need, builds the documentation, checks the dependencies.
    Test,
    /// Builds the documentation, warnings denied.
    Docs,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test => test::run_all(),
        Task::Docs => test::docs(),
    }
}

//! Project tasks: `cargo xtask test` checks and tests everything, `cargo xtask bench` measures.

mod bench;
mod cache;
mod cluster;
mod command;
mod deny;
mod equipment;
mod model;
mod prometheus;
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
    /// Runs the benches of these names, or all, and prints their tables.
    Bench {
        /// Names of benches.
        names: Vec<String>,
    },
    /// A real Kubernetes to work with by hand, in network namespaces of its own.
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Builds the documentation, warnings denied.
    Docs,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test => test::run_all(),
        Task::Bench { names } => bench::run_benches(&names),
        Task::Cluster { action } => cluster::act(action),
        Task::Docs => test::docs(),
    }
}

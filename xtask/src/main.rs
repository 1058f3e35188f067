//! Project tasks: `cargo xtask test` checks and tests everything, `cargo xtask bench` measures, `cargo xtask cluster`
//! starts a Kubernetes.

mod bench;
mod cache;
mod cluster;
mod command;
mod deny;
mod e2e;
mod equipment;
mod manifests;
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
    /// Runs the benches of these names, or all, and prints their tables. `evaluation` compares routing policies and writes
    /// docs/evaluation.md; it runs only when it is named.
    Bench {
        /// Names of benches.
        names: Vec<String>,
    },
    /// A real Kubernetes to work with by hand, in network namespaces of its own.
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Starts a Kubernetes of its own, runs the tests on it whose names contain one of these, or all, and takes it down.
    E2e {
        /// Parts of tests' names.
        filters: Vec<String>,
    },
    /// Builds the documentation, warnings denied.
    Docs,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test => test::run_all(),
        Task::Bench { names } => bench::run_benches(&names),
        Task::Cluster { action } => cluster::act(action),
        Task::E2e { filters } => e2e::run_tests(&filters),
        Task::Docs => test::docs(),
    }
}

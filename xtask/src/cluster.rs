//! `cargo xtask cluster`: a real Kubernetes in network namespaces of its own.

mod base;
mod cgroups;
mod chart;
mod clients;
mod control;
mod down;
mod hub;
mod images;
mod kubernetes;
mod mounts;
mod network;
mod node;
mod packages;
mod pki;
mod processes;
mod runtime;
mod state;
mod sysctls;
mod up;
mod wait;

use std::os::unix::process::CommandExt;

use anyhow::Context;
use clap::Subcommand;

pub(crate) use chart::{install, rolled_out};
pub(crate) use clients::{Client, programs};
pub(crate) use images::BUILD;
pub(crate) use packages::obstacle;
pub(crate) use state::State;
pub(crate) use up::up;

/// The purpose of the cluster that is used by hand; tests have another one.
const BY_HAND: &str = "dev";

/// What can be done with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Starts it with the operator in it, or brings both up to date when it runs.
    Up {
        /// No node: objects can be made and are worked on by controllers, but no pod runs.
        #[arg(long, conflicts_with = "nodes")]
        control_plane: bool,
        /// How many nodes.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=up::MOST_NODES))]
        nodes: u8,
    },
    /// Takes it down with everything in it.
    Down,
    /// Opens a shell in its network, with kubectl and helm.
    Shell,
    /// Runs a command in its network, with kubectl and helm.
    Exec {
        /// The command with its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// `cargo xtask cluster`.
pub(crate) fn act(action: Action) -> anyhow::Result<()> {
    if let Some(obstacle) = obstacle() {
        anyhow::bail!("no cluster can run here: {obstacle}");
    }
    let state = State::of_checkout(BY_HAND)?;
    match action {
        Action::Up { control_plane, nodes } => {
            let images = up(&state, if control_plane { 0 } else { nodes.into() })?;
            if !control_plane {
                install(&Client::new(&state)?, &images)?;
            }
            eprintln!(
                "{} is up. Next: `cargo xtask cluster exec -- kubectl get pods -A`, or `cargo xtask cluster shell` for \
                 a shell with kubectl and helm; `cargo xtask cluster down` ends it. Logs are in {}.",
                state.name,
                state.path("logs").display(),
            );
            Ok(())
        }
        Action::Down => take_down(&state),
        Action::Shell => {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            replace(&state, &[shell.unwrap_or_else(|| "/bin/sh".into())])
        }
        Action::Exec { command } => replace(&state, &command),
    }
}

/// Takes a cluster down when no other task is at work on it.
pub(crate) fn take_down(state: &State) -> anyhow::Result<()> {
    let _lock = state.lock()?;
    down::down(state)
}

/// Becomes the command, so that its signals and its status are the caller's.
fn replace(state: &State, command: &[std::ffi::OsString]) -> anyhow::Result<()> {
    anyhow::ensure!(state.started().is_some(), "{} is not up: `cargo xtask cluster up`", state.name);
    let [name, arguments @ ..] = command else { anyhow::bail!("no command") };
    let error = Client::new(state)?.command(name)?.args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", name.display()))
}

//! Starting a cluster, or finding it started.

use std::time::Instant;

use super::clients::Client;
use super::kubernetes::Kubernetes;
use super::state::State;
use super::{control, down, images, network, node, packages, processes, runtime, sysctls};

/// What a cluster consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// API server and controllers alone: pods wait for a node for ever.
    ControlPlane,
    /// A node too.
    All,
}

impl Parts {
    fn programs(self) -> Vec<&'static str> {
        let nodes = if self == Self::All { &node::PROGRAMS[..] } else { &[] };
        control::PROGRAMS.iter().chain(nodes).copied().collect()
    }
}

/// Starts the cluster with the current images. One that runs is kept and given new images alone.
pub(crate) fn up(state: &State, parts: Parts) -> anyhow::Result<()> {
    packages::install()?;
    let kubernetes = Kubernetes::built()?;
    let client = Client::new(state)?;
    let images = if parts == Parts::All { images::build(&kubernetes)? } else { Vec::new() };
    down::orphans()?;
    let _lock = state.lock()?;
    if runs(state, parts)? {
        return images.iter().try_for_each(|image| image.load(state, 1));
    }
    down::down(state)?;
    let begin = Instant::now();
    state.make()?;
    sysctls::save()?;
    network::make(state)?;
    let pki = control::start(state, &kubernetes, &client)?;
    if parts == Parts::All {
        runtime::start(state, 1)?;
        images.iter().try_for_each(|image| image.load(state, 1))?;
        node::start(state, &kubernetes, &client, &pki, 1)?;
    }
    state.mark_started(&parts.programs())?;
    eprintln!("{} started in {:.1} s", state.name, begin.elapsed().as_secs_f64());
    Ok(())
}

/// Whether the cluster has been started with at least these parts and all its programs still run.
fn runs(state: &State, parts: Parts) -> anyhow::Result<bool> {
    let Some(started) = state.started() else { return Ok(false) };
    let running = processes::running(state)?;
    let wanted = parts.programs();
    let whole = wanted.iter().all(|program| started.iter().any(|started| started == program));
    Ok(whole && started.iter().all(|program| running.contains(program)))
}

//! Starting a cluster, or finding it started.

use std::time::Instant;

use super::clients::Client;
use super::images::Image;
use super::kubernetes::Kubernetes;
use super::state::State;
use super::{control, down, hub, images, network, node, packages, processes, runtime, sysctls};

/// Nodes that a cluster can have.
pub(crate) const MOST_NODES: i64 = 2;

/// Starts the cluster with this many nodes and the current images. One that runs is kept and given new images alone. With
/// no node, objects can be made and are worked on by controllers, but pods wait for ever. Gives the images that it has.
pub(crate) fn up(state: &State, nodes: usize) -> anyhow::Result<Vec<Image>> {
    packages::install()?;
    let kubernetes = Kubernetes::built()?;
    let client = Client::new(state)?;
    let images = if nodes > 0 { images::build(&kubernetes)? } else { Vec::new() };
    let load = |node| images.iter().try_for_each(|image| image.load(state, node));
    down::orphans()?;
    let _lock = state.lock()?;
    if let Some(there) = runs(state)?.filter(|there| *there >= nodes) {
        (1..=there).try_for_each(load)?;
        return Ok(images);
    }
    down::down(state)?;
    let begin = Instant::now();
    state.make()?;
    sysctls::save()?;
    network::make(state)?;
    let pki = control::start(state, &kubernetes, &client)?;
    for node in 1..=nodes {
        if node > 1 {
            network::join(state, node)?;
        }
        runtime::start(state, node)?;
        load(node)?;
        node::start(state, &kubernetes, &client, &pki, node)?;
    }
    if nodes > 0 {
        hub::start(state)?;
    }
    state.mark_started(nodes)?;
    eprintln!("{} started in {:.1} s", state.name, begin.elapsed().as_secs_f64());
    Ok(images)
}

/// The number of nodes of the cluster, if it has been started and all its programs still run.
fn runs(state: &State) -> anyhow::Result<Option<usize>> {
    let Some(nodes) = state.started() else { return Ok(None) };
    let running = processes::running(state)?;
    let count = |program: &str| running.iter().filter(|running| *running == program).count();
    let once = control::PROGRAMS
        .iter()
        .chain(if nodes > 0 { &[node::DNS, hub::PROGRAM][..] } else { &[] })
        .all(|name| count(name) > 0);
    Ok((once && node::PROGRAMS.iter().all(|name| count(name) >= nodes)).then_some(nodes))
}

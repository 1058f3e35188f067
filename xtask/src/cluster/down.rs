//! Taking a cluster down, whatever state it is in: also what a killed task or an earlier start has left.

use std::fs::read_dir;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::state::State;
use super::{cgroups, mounts, network, processes, sysctls};

/// Where kubelets put links to the logs of all containers of the machine.
const LOG_LINKS: &str = "/var/log/containers";
/// Below a node's folder, where its runtime keeps the running containers.
const TASKS: &str = "containerd-state/io.containerd.runtime.v2.task/k8s.io";

/// Removes everything of it. Nothing of it being there is no error.
pub(crate) fn down(state: &State) -> anyhow::Result<()> {
    processes::kill_all(state)?;
    cgroups::remove(state)?;
    remove_outside(state);
    mounts::remove_below(&state.folder)?;
    network::remove(state)?;
    if state.folder.exists() {
        let error = || format!("cannot remove {}", state.folder.display());
        std::fs::remove_dir_all(&state.folder).with_context(error)?;
    }
    sysctls::restore()
}

/// Takes down the clusters of checkouts that are gone.
pub(crate) fn orphans() -> anyhow::Result<()> {
    for state in State::orphans()? {
        let _lock = state.lock()?;
        eprintln!("taking down {}, whose checkout is gone", state.name);
        down(&state)?;
    }
    Ok(())
}

/// Removes the files that components make in places which cannot be chosen. They are empty, and none is missed when it
/// is not there, so that no error is worth more than going on.
fn remove_outside(state: &State) {
    let nodes = entries(&state.folder);
    for task in nodes.iter().flat_map(|node| entries(&node.join(TASKS))) {
        // Where the process beside the container has listened.
        let address = std::fs::read_to_string(task.join("address")).unwrap_or_default();
        if let Some(socket) = address.trim().strip_prefix("unix://") {
            let _ = std::fs::remove_file(socket);
        }
    }
    for link in entries(Path::new(LOG_LINKS)) {
        if std::fs::read_link(&link).is_ok_and(|log| log.starts_with(&state.folder)) {
            let _ = std::fs::remove_file(link);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
}

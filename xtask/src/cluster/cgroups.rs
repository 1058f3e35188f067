//! The control groups below which a node keeps those of its pods, in every hierarchy there is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::state::State;
use super::{mounts, processes, wait};

/// Makes a node's group and says its name.
pub(crate) fn make(state: &State, node: usize) -> anyhow::Result<String> {
    let name = format!("{}-{node}", state.name);
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(&name);
        std::fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
    }
    Ok(format!("/{name}"))
}

/// Ends whatever is left in the cluster's groups and removes them.
pub(crate) fn remove(state: &State) -> anyhow::Result<()> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        for entry in std::fs::read_dir(&hierarchy)?.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", state.name)) {
                collect(&entry.path(), &mut groups);
            }
        }
    }
    wait::until("the pods' processes end", Duration::from_secs(30), || {
        let mut left = String::new();
        for group in &groups {
            for id in std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                end(id, &state.name);
                write!(left, " {id}")?;
            }
        }
        anyhow::ensure!(left.is_empty(), "still there:{left}");
        Ok(())
    })?;
    // A group is busy for a moment after its last process has ended.
    wait::until("the pods' control groups go", Duration::from_secs(10), || {
        groups.iter().filter(|group| group.exists()).try_for_each(|group| {
            std::fs::remove_dir(group).with_context(|| format!("cannot remove {}", group.display()))
        })
    })
}

/// Ends a process if it is one of the cluster's pods.
fn end(id: &str, name: &str) {
    // The handle comes first: what is read afterwards is about the same process, or about none.
    let Some(process) = processes::open(id) else { return };
    let groups = std::fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default();
    if groups.contains(&format!(":/{name}-")) {
        processes::kill(&process);
    }
}

/// The group and all below it, those below first: a group with others in it cannot be removed.
fn collect(group: &Path, groups: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(group).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        collect(&entry.path(), groups);
    }
    groups.push(group.to_owned());
}

fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = mounts::all()?.into_iter();
    Ok(mounts.filter(|mount| mount.kind.starts_with("cgroup")).map(|mount| mount.point).collect())
}

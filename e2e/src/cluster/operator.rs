//! The operator's pods.

use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use rustix::process::{Pid, Signal, kill_process};

/// Where the operator runs.
pub const NAMESPACE: &str = "ampd-system";
const LEASE: &str = "ampd-operator";

/// Who the lease says is the leader.
///
/// # Errors
/// When the API server does not say, or nobody holds it.
pub async fn leader(client: &Client) -> anyhow::Result<Pod> {
    let lease = Api::<Lease>::namespaced(client.clone(), NAMESPACE).get(LEASE).await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds the lease")?;
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default()).await?;
    let leads = |pod: &Pod| holder.starts_with(&pod.name_any());
    pods.items.into_iter().find(leads).with_context(|| format!("no pod of {holder}"))
}

/// Sends a signal to all processes of a pod on this machine.
///
/// # Errors
/// When there is none, or one cannot be reached.
pub fn signal(pod: &Pod, signal: Signal) -> anyhow::Result<()> {
    let uid = pod.uid().context("a pod without a uid")?;
    let mut found = false;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        let Some(pid) = pid.filter(|_| is_of(&entry.path(), &uid)) else { continue };
        kill_process(pid, signal).with_context(|| format!("process {pid:?}"))?;
        found = true;
    }
    anyhow::ensure!(found, "no process of {} on this machine", pod.name_any());
    Ok(())
}

/// Whether a process belongs to a pod. Some runtimes write the uid with underscores.
fn is_of(process: &Path, uid: &str) -> bool {
    let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    groups.contains(uid) || groups.contains(&uid.replace('-', "_"))
}

//! The container runtime of a node: containerd with its network plugins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::network;
use super::processes::Component;
use super::state::State;
use crate::command::{program, run};

/// The program that runs, and so is looked for when a cluster is taken up again.
pub(crate) const PROGRAM: &str = "containerd";
/// Where Debian's package puts the network plugins.
const PLUGINS: &str = "/usr/lib/cni";
/// The image that keeps a pod's namespaces.
pub(crate) const PAUSE: &str = "localhost/ampd-pause:e2e";

/// Where the runtime listens, in the node's folder.
const SOCKET: &str = "containerd.sock";

/// Where the runtime listens.
pub(crate) fn socket(state: &State, node: usize) -> PathBuf {
    state.path(&format!("node-{node}/{SOCKET}"))
}

/// Starts it and waits until it answers.
pub(crate) fn start(state: &State, node: usize) -> anyhow::Result<()> {
    let folder = state.path(&format!("node-{node}"));
    state.write(&format!("node-{node}/cni/10-pods.conflist"), &pod_network(state, node))?;
    state.write(&format!("node-{node}/containerd.toml"), &configuration(&folder))?;
    let config = folder.join("containerd.toml");
    let arguments = ["--config".as_ref(), config.as_os_str()];
    let mut containerd = Component::start(state, node, Path::new(PROGRAM), arguments)?;
    containerd.ready(Duration::from_mins(1), || {
        let output = ctr(state, node).arg("version").output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    })
}

/// The runtime's own client, for the images and containers of Kubernetes.
fn ctr(state: &State, node: usize) -> Command {
    let mut ctr = program("ctr");
    ctr.arg("--address").arg(socket(state, node)).args(["--namespace", "k8s.io"]);
    ctr
}

/// Gives the node an image.
pub(crate) fn import(state: &State, node: usize, archive: &Path) -> anyhow::Result<()> {
    run(ctr(state, node).args(["images", "import"]).arg(archive).stdout(std::process::Stdio::null()))
}

/// Gives an image of a node another name.
pub(crate) fn tag(state: &State, node: usize, name: &str, other: &str) -> anyhow::Result<()> {
    run(ctr(state, node).args(["images", "tag", "--force", name, other]).stdout(std::process::Stdio::null()))
}

fn configuration(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 2
root = {root:?}
state = {state:?}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]
[grpc]
address = {socket:?}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Inside of a sandbox even root may not make a process less likely to be ended when memory runs out.
restrict_oom_score_adj = true
disable_tcp_service = true
# So that taking the folder down takes them down.
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = {runc:?}
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = {cni:?}
"#,
        root = path("containerd"),
        socket = path(SOCKET),
        state = path("containerd-state"),
        runc = path("runc"),
        cni = path("cni"),
    )
}

fn pod_network(state: &State, node: usize) -> String {
    let data = state.path(&format!("node-{node}/addresses")).display().to_string();
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "{name}", "plugins": [
  {{"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": {data:?}, "routes": [{{"dst": "0.0.0.0/0"}}],
             "ranges": [[{{"subnet": "{pods}.0/24"}}]]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#,
        name = state.name,
        pods = network::pods(node),
    )
}

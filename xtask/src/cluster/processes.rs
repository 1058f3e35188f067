//! The processes of a cluster: started so that they outlive this task, and found again by a variable in their
//! environment. Nothing that a killed task forgot to write down is lost that way, and no process of others is touched.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::state::State;
use super::{network, wait};

/// The variable that names the cluster's folder.
const MARK: &str = "AMPD_CLUSTER_FOLDER";
/// Lines of a log that an error shows.
const TAIL: usize = 20;

/// A component that was just started.
#[derive(Debug)]
pub(crate) struct Component {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Component {
    /// Starts `program` in the network of node `node`, detached, with its output in the cluster's folder.
    pub(crate) fn start<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(
        state: &State,
        node: usize,
        program: &Path,
        arguments: I,
    ) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let name = if node == 1 { name.into_owned() } else { format!("{name}-{node}") };
        let log = state.path(&format!("logs/{name}.log"));
        std::fs::create_dir_all(state.path("logs"))?;
        let output = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new("setsid");
        command.arg("nsenter").arg(network::enter(state, node)).arg(program).args(arguments);
        command.env(MARK, &state.folder).current_dir(&state.folder);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until `look` finds it ready; its end ends the wait.
    pub(crate) fn ready(
        &mut self,
        limit: Duration,
        mut look: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut ended = None;
        let waited = wait::until(&format!("{} is ready", self.name), limit, || {
            ended = self.child.try_wait()?;
            if ended.is_some() { Ok(()) } else { look() }
        });
        let waited = match ended {
            Some(status) => Err(anyhow::anyhow!("{} ended with {status}", self.name)),
            None => waited,
        };
        waited.with_context(|| format!("the end of {}:\n{}", self.log.display(), tail(&self.log)))
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Names of the programs that run for this cluster, with what they have started.
pub(crate) fn running(state: &State) -> anyhow::Result<Vec<String>> {
    Ok(marked(state)?.into_iter().map(|(_, name)| name).collect())
}

/// Ends all of them, at once: nothing that such a cluster holds is worth a slow goodbye.
pub(crate) fn kill_all(state: &State) -> anyhow::Result<()> {
    wait::until("the cluster's processes end", Duration::from_secs(30), || {
        let marked = marked(state)?;
        for (process, _) in &marked {
            kill(process);
        }
        let names: Vec<_> = marked.into_iter().map(|(_, name)| name).collect();
        anyhow::ensure!(names.is_empty(), "still there: {}", names.join(", "));
        Ok(())
    })
}

/// Sends the signal that nothing survives.
pub(crate) fn kill(process: &OwnedFd) {
    // Fails only when the process has ended meanwhile.
    let _ = pidfd_send_signal(process, Signal::KILL);
}

/// A handle of process `id`, which stays that process's even when the id is given to another one.
pub(crate) fn open(id: &str) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(id.parse().ok()?)?, PidfdFlags::empty()).ok()
}

/// The processes with the cluster's mark and the names of their programs.
fn marked(state: &State) -> anyhow::Result<Vec<(OwnedFd, String)>> {
    let mark = format!("{MARK}={}", state.folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let id = entry.file_name().to_string_lossy().into_owned();
        // The handle comes first: what is read afterwards is about the same process, or about none.
        let Some(process) = open(&id) else { continue };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
            let program = String::from_utf8_lossy(program).into_owned();
            let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((process, name));
        }
    }
    Ok(found)
}

//! `ampd local` as a fixture.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Member, environment};
use crate::process::{Known, Process, Signal, send};

/// Longest time from the start until it serves: the default model loads in a few seconds, and a first start measures.
const READY: Duration = Duration::from_mins(3);
/// Longest time to end in order.
const STOP: Duration = Duration::from_secs(20);

/// Room for fifty sessions of the tests, whatever memory is free.
const KV_MIB: u32 = 384;

/// Clusters fight for the cores, so that timings of one beside another say nothing: one runs at a time.
static ONE_AT_A_TIME: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// Waits until no other cluster of this process runs.
pub(super) async fn alone() -> OwnedMutexGuard<()> {
    ONE_AT_A_TIME.clone().lock_owned().await
}

/// What to start.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Prefill workers.
    pub prefill: u32,
    /// Decode workers, each with a sidecar.
    pub decode: u32,
    /// KV pool of each worker, MiB.
    pub kv_mib: u32,
    /// Further arguments of `ampd local`.
    pub arguments: Vec<String>,
    /// Further variables.
    pub environment: Vec<(String, PathBuf)>,
    /// Whether it fetches the default model itself instead of being given `AMPD_MODEL`.
    pub fetches: bool,
}

impl LocalOptions {
    /// So many workers of each role and the manifest's policy.
    #[must_use]
    pub fn new(prefill: u32, decode: u32) -> Self {
        Self {
            prefill,
            decode,
            kv_mib: KV_MIB,
            arguments: Vec::new(),
            environment: Vec::new(),
            fetches: false,
        }
    }

    /// The same with a policy.
    #[must_use]
    pub fn policy(mut self, policy: &str) -> Self {
        self.arguments.extend(["--policy".into(), policy.into()]);
        self
    }
}

/// What the state file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct State {
    url: String,
    ready: bool,
    processes: Vec<Member>,
}

/// A running `ampd local`. Dropping it ends it and, should it have left any, its children.
#[derive(Debug)]
pub struct LocalCluster {
    /// The process itself.
    pub process: Process,
    /// Where it serves.
    pub url: String,
    file: PathBuf,
    /// All children that were ever seen.
    seen: std::sync::Mutex<HashSet<Known>>,
    _folder: TempDir,
    _alone: OwnedMutexGuard<()>,
}

impl LocalCluster {
    /// Starts it with `AMPD_MODEL` on a free port and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; the error has its output.
    pub async fn start(options: LocalOptions) -> anyhow::Result<Self> {
        let alone = alone().await;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("state.json");
        let mut command = Command::new(environment::binary()?);
        command.args(["local", "--port", "0", "--state-file"]).arg(&file);
        if !options.fetches {
            command.arg("--model").arg(environment::model().context("AMPD_MODEL is not set")?);
        }
        command.args(["--prefill", &options.prefill.to_string(), "--decode", &options.decode.to_string()]);
        command.args(["--kv-mib", &options.kv_mib.to_string()]).args(&options.arguments);
        command.envs(options.environment);
        let process = Process::start("local", command, folder.path())?;
        let (url, seen) = (String::new(), std::sync::Mutex::default());
        let mut cluster = Self { process, url, file, seen, _folder: folder, _alone: alone };
        cluster.url = cluster.ready().await?;
        Ok(cluster)
    }

    async fn ready(&mut self) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.ended()? {
                anyhow::bail!("ampd local ended with {status}:\n{}", self.process.output());
            }
            match self.state() {
                Ok(state) if state.ready => return Ok(state.url),
                Ok(_) | Err(_) if start.elapsed() < READY => {}
                state => anyhow::bail!("not ready: {state:?}\n{}", self.process.output()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn state(&self) -> anyhow::Result<State> {
        let state: State = serde_json::from_slice(&std::fs::read(&self.file)?)?;
        let pids = state.processes.iter().filter_map(|member| member.pid);
        if let Ok(mut seen) = self.seen.lock() {
            seen.extend(pids.filter_map(Known::new));
        }
        Ok(state)
    }

    /// Its processes now.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn members(&self) -> anyhow::Result<Vec<Member>> {
        Ok(self.state()?.processes)
    }

    /// The process of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, name: &str) -> anyhow::Result<Member> {
        let found = self.members()?.into_iter().find(|member| member.name == name);
        found.with_context(|| format!("there is no process {name}"))
    }

    /// Sends a signal to the process of this name.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        send(self.member(name)?.pid.with_context(|| format!("{name} does not run"))?, signal)
    }

    /// The children that were ever seen and still run.
    #[must_use]
    pub fn running_children(&self) -> Vec<Known> {
        // A file that is gone adds nothing.
        let _ = self.state();
        let seen = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        seen.into_iter().filter(Known::runs).collect()
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end in time, not with success, or a child outlives it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP).await?;
        anyhow::ensure!(status.success(), "ended with {status}:\n{}", self.process.output());
        let left = self.running_children();
        anyhow::ensure!(left.is_empty(), "children outlive ampd local: {left:?}");
        Ok(())
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("output of ampd local:\n{}", self.process.output());
        }
        let children = self.running_children();
        // An orderly end collects the children; the time is bounded, and what is left is killed.
        if self.process.signal(Signal::TERM).is_ok() {
            let start = Instant::now();
            while matches!(self.process.ended(), Ok(None)) && start.elapsed() < STOP {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for child in children.iter().filter(|child| child.runs()) {
            // It may end by itself in this very moment.
            let _ = send(child.pid, Signal::CONT);
            let _ = send(child.pid, Signal::KILL);
        }
    }
}

//! The running processes as one thing: started together, stopped in order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ampd_worker::process::exit;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arguments::Shared;
use super::child::{ChildError, ChildState, Launcher, Supervised};
use super::child_log::ChildLog;
use super::members::{Kind, Members};
use super::notices::Notices;
use super::run_dir::RunDir;

/// The processes and what is known of them.
pub(crate) struct Cluster {
    /// Their addresses.
    pub(crate) members: Arc<Members>,
    /// Public addresses of the sidecars that are ready.
    pub(crate) ready_sidecars: watch::Sender<Vec<SocketAddr>>,
    /// Told when a process starts or ends.
    pub(crate) changed: watch::Sender<()>,
    children: Vec<Child>,
}

/// What is shared with the supervisor of one process.
struct Child {
    state: watch::Receiver<ChildState>,
    was_ready: Arc<AtomicBool>,
    hung: watch::Sender<Option<u32>>,
}

impl Cluster {
    /// The state of member `index`.
    pub(crate) fn state(&self, index: usize) -> ChildState {
        self.children.get(index).map(|child| *child.state.borrow()).unwrap_or_default()
    }

    /// Whether member `index` was ready at any time.
    pub(crate) fn was_ready(&self, index: usize) -> &AtomicBool {
        &self.children[index].was_ready
    }

    /// Has the process `pid` of member `index` killed and started again.
    pub(crate) fn hangs(&self, index: usize, pid: u32) {
        self.children[index].hung.send_replace(Some(pid));
    }
}

/// The supervising tasks: those of the workers and those of the sidecars stop apart.
pub(crate) struct Tasks {
    workers: JoinSet<Result<(), ChildError>>,
    sidecars: JoinSet<Result<(), ChildError>>,
    stop_workers: CancellationToken,
    stop_sidecars: CancellationToken,
}

/// Starts all processes.
pub(crate) fn start(
    program: &Path,
    shared: &Arc<Shared>,
    members: Arc<Members>,
    run_dir: &RunDir,
    notices: &Notices,
) -> std::io::Result<(Arc<Cluster>, Tasks)> {
    let list = members.with(|list| list.iter().map(|m| (m.name.clone(), m.kind)).collect::<Vec<_>>());
    let (mut children, mut supervised) = (Vec::new(), Vec::new());
    let changed = watch::Sender::new(());
    for (index, (name, kind)) in list.into_iter().enumerate() {
        let (state, receiver) = watch::channel(ChildState::default());
        let (was_ready, hung) = (Arc::new(AtomicBool::new(false)), watch::Sender::new(None));
        let told = hung.subscribe();
        let shown = Child { state: receiver, was_ready: Arc::clone(&was_ready), hung };
        children.push(shown);
        let child = Supervised {
            log: ChildLog::create(run_dir.log(&name))?,
            name,
            launcher: launcher(program.to_owned(), Arc::clone(shared), Arc::clone(&members), index),
            state,
            changed: changed.clone(),
            was_ready,
            hung: told,
            notices: notices.clone(),
            grace: shared.plan.grace + super::KILL_AFTER_GRACE,
        };
        supervised.push((kind, child));
    }
    let ready_sidecars = watch::Sender::new(Vec::new());
    let cluster = Arc::new(Cluster { members, ready_sidecars, changed, children });
    let mut tasks = Tasks {
        workers: JoinSet::new(),
        sidecars: JoinSet::new(),
        stop_workers: CancellationToken::new(),
        stop_sidecars: CancellationToken::new(),
    };
    for (kind, child) in supervised {
        let (set, stop) = match kind {
            Kind::Sidecar => (&mut tasks.sidecars, &tasks.stop_sidecars),
            Kind::Prefill | Kind::Decode => (&mut tasks.workers, &tasks.stop_workers),
        };
        set.spawn(child.run(stop.clone()));
    }
    Ok((cluster, tasks))
}

impl Tasks {
    /// Waits for a child that is given up.
    pub(crate) async fn failed(&mut self) -> ChildError {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.workers.join_next() => ended,
                Some(ended) = self.sidecars.join_next() => ended,
                else => return std::future::pending().await,
            };
            if let Ok(Err(error)) = ended {
                return error;
            }
        }
    }

    /// Stops the sidecars, which finish what clients wait for, then the workers that they need for it.
    pub(crate) async fn stop(&mut self) {
        self.stop_sidecars.cancel();
        while self.sidecars.join_next().await.is_some() {}
        self.stop_workers.cancel();
        while self.workers.join_next().await.is_some() {}
    }
}

fn launcher(program: PathBuf, shared: Arc<Shared>, members: Arc<Members>, index: usize) -> Launcher {
    Box::new(move |last| {
        if last.and_then(|status: ExitStatus| status.code()) == Some(i32::from(exit::UNAVAILABLE)) {
            // Somebody else took a port between its being chosen and its being used.
            members.move_ports(index).map_err(std::io::Error::other)?;
        }
        let arguments: Vec<OsString> =
            members.with(|list| list.get(index).map(|member| shared.of(member)).unwrap_or_default());
        members.let_go(index);
        let mut command = Command::new(&program);
        command.args(arguments);
        // The children get all they need as arguments; variables of this shell that name flags are not for them.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"AMPD_") {
                command.env_remove(name);
            }
        }
        Ok(command)
    })
}

//! One child process over all its lives: started, watched, restarted, and stopped at the end.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ampd_worker::process::exit;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::child_log::ChildLog;
use super::notices::Notices;

/// Deaths, none of the lives ever ready, after which no further start is tried.
const MAX_FAILED_STARTS: u32 = 6;
/// Lines of the log that go into an error.
const SHOWN_LINES: usize = 12;
/// How long output may take to arrive after the process has ended; a grandchild could hold the pipe.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(1);
/// How long the system may take to end a process that was killed; one that waits for a broken disk does not end.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Makes the command for the next start. It is told how the last life ended, so that it can choose another port.
pub(crate) type Launcher = Box<dyn FnMut(Option<ExitStatus>) -> std::io::Result<Command> + Send + Sync>;

/// What others see of a child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChildState {
    /// Its process, while it lives.
    pub(crate) pid: Option<u32>,
    /// Starts after the first.
    pub(crate) restarts: u32,
}

/// Why a child is not started again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// The program or its log cannot be had.
    #[error("cannot start {name}")]
    Start {
        /// The child.
        name: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// It ends whatever is done.
    #[error("{name} does not start ({status}); the last of {log}:\n{lines}")]
    GivenUp {
        /// The child.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: String,
        /// The log's last lines.
        lines: String,
    },
}

/// A child to be supervised.
pub(crate) struct Supervised {
    /// Its name.
    pub(crate) name: String,
    /// Makes its commands.
    pub(crate) launcher: Launcher,
    /// Takes its output.
    pub(crate) log: ChildLog,
    /// Shows its state.
    pub(crate) state: watch::Sender<ChildState>,
    /// Told after each change of the state.
    pub(crate) changed: watch::Sender<()>,
    /// Whether it was ready at any time: such a child is restarted for ever.
    pub(crate) was_ready: Arc<AtomicBool>,
    /// The process that hangs and has to be killed. Named by its id, so that the next one is not killed in its place.
    pub(crate) hung: watch::Receiver<Option<u32>>,
    /// Where deaths are told.
    pub(crate) notices: Notices,
    /// From the request to stop to the kill.
    pub(crate) grace: Duration,
}

impl Supervised {
    /// Keeps the child alive until `stop`; it is gone when this returns.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), ChildError> {
        let (mut backoff, mut last) = (Backoff::default(), None);
        while !stop.is_cancelled() {
            let started = Instant::now();
            let Some(status) = self.live(last, &stop).await? else { break };
            last = Some(status);
            let wait = backoff.after(started.elapsed());
            if self.is_hopeless(status, &backoff) {
                let (log, lines) = (self.log.path().display().to_string(), self.log.last_lines(SHOWN_LINES));
                return Err(ChildError::GivenUp { name: self.name, status, log, lines });
            }
            self.show(|state| state.restarts += 1);
            let wait_text = humantime::format_duration(wait);
            self.notices.say(format!("{} ended ({status}), restarting in {wait_text}", self.name));
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    fn show(&self, change: impl FnOnce(&mut ChildState)) {
        self.state.send_modify(change);
        self.changed.send_replace(());
    }

    /// Whether another start would end the same way: a wrong configuration stays wrong, and what never came up in many
    /// tries will not. What has once worked is always tried again.
    fn is_hopeless(&self, status: ExitStatus, backoff: &Backoff) -> bool {
        let fatal = [exit::USAGE, exit::CONFIG].map(i32::from);
        let never_ready = !self.was_ready.load(Ordering::Relaxed);
        let wrong = status.code().is_some_and(|code| fatal.contains(&code));
        never_ready && (wrong || backoff.deaths() >= MAX_FAILED_STARTS)
    }

    /// One life. `None` when it was ended because of `stop`.
    async fn live(
        &mut self,
        last: Option<ExitStatus>,
        stop: &CancellationToken,
    ) -> Result<Option<ExitStatus>, ChildError> {
        let name = self.name.clone();
        let start = |source| ChildError::Start { name: name.clone(), source };
        let mut command = (self.launcher)(last).map_err(start)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C at a terminal goes to a whole process group; the children shall be asked by this process alone.
        command.process_group(0);
        let mut child = command.spawn().map_err(start)?;
        // The child ends when this pipe does. It is taken out because waiting for a child closes it.
        let _stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let collect = tokio::spawn(collect(self.log.clone(), stdout, stderr));
        self.show(|state| state.pid = child.id());
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            status = self.ended(&mut child) => Some(status),
        };
        if ended.is_none() {
            self.terminate(&mut child).await;
        }
        self.show(|state| state.pid = None);
        let abort = collect.abort_handle();
        if tokio::time::timeout(OUTPUT_DEADLINE, collect).await.is_err() {
            abort.abort();
        }
        ended.transpose().map_err(start)
    }

    /// How the child ended, by itself or because it hung.
    async fn ended(&mut self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let pid = child.id();
        tokio::select! {
            status = child.wait() => return status,
            Ok(_) = self.hung.wait_for(|hung| hung.is_some() && *hung == pid) => {}
        }
        self.notices.say(format!("{} has not answered for too long, killing it", self.name));
        // It may have ended just now.
        let _ = child.start_kill();
        child.wait().await
    }

    /// Asks the child to end, waits for `grace`, and kills it.
    async fn terminate(&self, child: &mut Child) {
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(self.grace, child.wait()).await.is_err() {
            self.notices.say(format!("{} did not stop within {:?}, killing it", self.name, self.grace));
            if tokio::time::timeout(KILL_DEADLINE, child.kill()).await.is_err() {
                self.notices.say(format!("{} cannot be killed, leaving it behind", self.name));
            }
        }
    }
}

async fn collect(
    log: ChildLog,
    stdout: Option<tokio::process::ChildStdout>,
    stderr: Option<tokio::process::ChildStderr>,
) {
    let (out, err) = (log.clone(), log);
    tokio::join!(
        async move {
            if let Some(stdout) = stdout {
                out.collect(stdout).await;
            }
        },
        async move {
            if let Some(stderr) = stderr {
                err.collect(stderr).await;
            }
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Running {
        state: watch::Receiver<ChildState>,
        was_ready: Arc<AtomicBool>,
        hung: watch::Sender<Option<u32>>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<Result<(), ChildError>>,
        _folder: tempfile::TempDir,
    }

    fn run(script: &'static str, grace: Duration) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let launcher: Launcher = Box::new(move |_| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Ok(command)
        });
        let (state, receiver) = watch::channel(ChildState::default());
        let (was_ready, stop) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let (hung, hung_receiver) = watch::channel(None);
        let child = Supervised {
            name: "decode-0".into(),
            launcher,
            log: ChildLog::create(folder.path().join("decode-0.log")).unwrap(),
            state,
            changed: watch::Sender::new(()),
            was_ready: Arc::clone(&was_ready),
            hung: hung_receiver,
            notices: Notices::new().0,
            grace,
        };
        let task = tokio::spawn(child.run(stop.clone()));
        Running { state: receiver, was_ready, hung, stop, task, _folder: folder }
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), future).await.unwrap()
    }

    fn is_alive(pid: u32) -> bool {
        rustix::process::test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()).is_ok()
    }

    #[tokio::test]
    async fn a_child_that_dies_is_started_again_and_one_that_listens_stops_at_once() {
        let mut running = run("sleep 600 & wait", Duration::from_secs(20));
        let first = within(running.state.wait_for(|state| state.pid.is_some())).await.unwrap().pid.unwrap();
        running.was_ready.store(true, Ordering::Relaxed);
        kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
        let again = |state: &ChildState| state.pid.is_some_and(|pid| pid != first) && state.restarts == 1;
        let second = within(running.state.wait_for(again)).await.unwrap().pid.unwrap();
        let asked = Instant::now();
        running.stop.cancel();
        within(running.task).await.unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(15), "it was not waited for in vain");
        assert!(!is_alive(first) && !is_alive(second));
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_killed_and_started_again() {
        let mut running = run("sleep 600 & wait", Duration::from_secs(20));
        let first = within(running.state.wait_for(|state| state.pid.is_some())).await.unwrap().pid.unwrap();
        running.was_ready.store(true, Ordering::Relaxed);
        kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::STOP).unwrap();
        running.hung.send_replace(Some(first));
        let again = |state: &ChildState| state.pid.is_some_and(|pid| pid != first) && state.restarts == 1;
        let second = within(running.state.wait_for(again)).await.unwrap().pid.unwrap();
        assert!(!is_alive(first));
        // The word still stands and is not for the next process.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(is_alive(second) && running.state.borrow().restarts == 1);
        running.stop.cancel();
        within(running.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_child_that_will_not_stop_is_killed() {
        let mut running =
            run("trap '' TERM; while :; do read line || sleep 0.05; done", Duration::from_millis(300));
        let pid = within(running.state.wait_for(|state| state.pid.is_some())).await.unwrap().pid.unwrap();
        running.stop.cancel();
        within(running.task).await.unwrap().unwrap();
        assert!(!is_alive(pid));
    }

    #[tokio::test]
    async fn a_wrong_configuration_is_told_with_the_log_and_not_tried_again() {
        let running = run("echo 'error: --model x: damaged' >&2; exit 78", Duration::from_secs(1));
        let error = within(running.task).await.unwrap().unwrap_err().to_string();
        assert!(error.contains("decode-0") && error.contains("--model x: damaged"), "{error}");
        assert_eq!(running.state.borrow().restarts, 0);
    }

    #[tokio::test]
    async fn the_child_sees_its_input_end_when_the_supervisor_is_gone() {
        let mut running = run("cat > /dev/null", Duration::from_secs(1));
        let pid = within(running.state.wait_for(|state| state.pid.is_some())).await.unwrap().pid.unwrap();
        assert!(is_alive(pid), "the pipe is held open");
        running.task.abort();
        let gone = async {
            while is_alive(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(gone).await;
    }
}

//! `ampd local` as a whole, on a tiny random model: what it starts, what it says, and that nothing outlives it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_testkit::tiny_model::{Family, TinyModel};
use candle_core::quantized::GgmlDType;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_mins(1);

struct Local {
    child: Child,
    folder: Arc<tempfile::TempDir>,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ampd"));
    command.arg("local").env("AMPD_CACHE", folder.join("cache")).env("XDG_RUNTIME_DIR", folder);
    command
}

/// Starts one prefill and one decode worker with a sidecar.
fn start() -> Local {
    start_in(Arc::new(tempfile::tempdir().unwrap()))
}

/// The same in a folder that others have used.
fn start_in(folder: Arc<tempfile::TempDir>) -> Local {
    let model = folder.path().join("tiny.gguf");
    TinyModel::new(Family::Llama).write_gguf(&model, GgmlDType::F32).unwrap();
    let child = command(folder.path())
        .args(["--port", "0", "--prefill", "1", "--decode", "1", "--kv-mib", "8", "--no-profile", "--model"])
        .arg(&model)
        .arg("--state-file")
        .arg(folder.path().join("state.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Local { child, folder }
}

impl Local {
    fn state_file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    fn state(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.state_file()).ok()?).ok()
    }

    /// Waits until the state is as `wanted`.
    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(state) = self.state().filter(|state| wanted(state)) {
                return state;
            }
            let over = Instant::now() > end;
            if over || self.child.try_wait().unwrap().is_some() {
                let state = self.state();
                self.child.kill().unwrap();
                let (mut out, mut err) = (String::new(), String::new());
                self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
                self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
                panic!("not as wanted: {state:?}\n{out}\n{err}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Nothing is left of a test that has passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

fn pids(state: &Value) -> Vec<Pid> {
    let processes = state["processes"].as_array().unwrap();
    processes.iter().filter_map(|process| process["pid"].as_u64()).map(|id| pid(id as u32)).collect()
}

/// Whether a process runs. One that has ended and waits for its parent to hear of it does not.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && state.is_some_and(|state| state != 'Z')
}

fn wait_gone(pids: &[Pid]) {
    let end = Instant::now() + DEADLINE;
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < end, "processes outlive their parent: {pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_serves_restarts_what_dies_and_leaves_nothing_behind() {
    let mut local = start();
    let state = local.wait(|state| state["ready"] == true);
    let names: Vec<&str> =
        state["processes"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["decode-0", "prefill-0", "sidecar-0"]);
    let models = get(state["url"].as_str().unwrap(), "/v1/models");
    assert!(models.starts_with("HTTP/1.1 200") && models.contains("tiny"), "{models}");

    let prefill = |state: &Value| state["processes"][1].clone();
    let first = prefill(&state)["pid"].as_u64().unwrap();
    kill_process(pid(first as u32), Signal::KILL).unwrap();
    let after = local.wait(|state| {
        state["ready"] == true && prefill(state)["restarts"] == 1 && prefill(state)["pid"] != first
    });
    assert_eq!(prefill(&after)["control_url"], prefill(&state)["control_url"], "it keeps its address");

    local.signal(Signal::INT);
    let status = local.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    wait_gone(&pids(&after));
    assert!(!local.state_file().exists());
    assert!(!Path::new(state["run_dir"].as_str().unwrap()).exists());
    let mut said = String::new();
    local.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    for part in ["prefill-0: ready", "curl http://127.0.0.1:", "prefill-0 ended", "stopping"] {
        assert!(said.contains(part), "{part:?}:\n{said}");
    }
}

#[test]
fn no_child_outlives_a_killed_parent() {
    let mut local = start();
    let all_run = |state: &Value| pids(state).len() == 3;
    let state = local.wait(all_run);
    local.signal(Signal::KILL);
    local.child.wait().unwrap();
    wait_gone(&pids(&state));

    // What it could not remove itself, the next one does.
    let left = PathBuf::from(state["run_dir"].as_str().unwrap());
    assert!(left.is_dir());
    std::fs::remove_file(local.state_file()).unwrap();
    let mut next = start_in(Arc::clone(&local.folder));
    let state = next.wait(all_run);
    assert!(!left.exists() && Path::new(state["run_dir"].as_str().unwrap()).is_dir());
}

#[test]
fn a_worker_that_hangs_is_killed_and_started_again() {
    let mut local = start();
    let decode = |state: &Value| state["processes"][0].clone();
    let state = local.wait(|state| state["ready"] == true);
    let first = decode(&state)["pid"].as_u64().unwrap();
    kill_process(pid(first as u32), Signal::STOP).unwrap();
    let after = local.wait(|state| state["ready"] == true && decode(state)["restarts"] == 1);
    assert_ne!(decode(&after)["pid"], first);
    assert!(!is_alive(pid(first as u32)));
    local.signal(Signal::INT);
    assert_eq!(local.child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    local.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("decode-0: not answering") && said.contains("has not answered for too long"),
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_told_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path()).args(["--port", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("--port {port}")) && said.contains("--port 0"), "{said}");
}

#[test]
fn a_model_that_is_missing_or_damaged_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.gguf");
    std::fs::write(&damaged, b"GGUF but no more").unwrap();
    for path in [Path::new("/no/such.gguf"), &damaged] {
        let output = command(folder.path()).args(["--port", "0", "--model"]).arg(path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(path.to_str().unwrap()), "{said}");
    }
}

//! `ampd-worker` as a process: what it logs, how it answers while it starts, how signals end it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::process::Stdio;

use crate::worker_support::{Files, PATIENCE, collect, request, run, text, until};
use ampd_worker::process::exit;
use ampd_worker::protocol::{ControlClient, Deadlines, PrefillTarget, RoundEvent, http_client};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(files: &Files, more: &[&str]) -> Self {
        let path = |name| files.path(name).into_os_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ampd-worker"))
            .args(["--role", "decode", "--name", "decode-0", "--service", "chat", "--log-format", "json"])
            .args(["--threads", "1", "--kv-blocks", "64"])
            .args(["--model".into(), path("model"), "--tls-dir".into(), path("decode")])
            .args(more)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Reads the log up to the line with `what`.
    async fn logged(&mut self, what: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.log.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("the log ended without {what:?}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    async fn client(&mut self) -> ControlClient {
        let line = self.logged("listening").await;
        let at = line.find("127.0.0.1:").expect("the log names the address");
        let address: String =
            line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        let client = ControlClient::new(
            http_client(None).unwrap(),
            &format!("http://{address}"),
            Deadlines::default(),
        );
        until("the worker is ready", async || client.probe(PATIENCE).await.is_ok()).await;
        client
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait()).await.expect("the process ends").unwrap().code()
    }
}

#[tokio::test]
async fn a_signal_lets_the_running_round_end() {
    let files = Files::new();
    let mut process = Process::start(&files, &[]);
    let client = process.client().await;
    let opened = client.open_round(&request("chat", text(1, 60), 440)).await.unwrap();
    let mut stream = client.run_round(opened.round, &run(PrefillTarget::Local)).await.unwrap();
    assert!(matches!(stream.next().await.unwrap(), Some(RoundEvent::Prefill(_))));
    process.signal(Signal::TERM);
    assert_eq!(collect(stream).await.done.unwrap().output_tokens, 440);
    assert_eq!(process.code().await, Some(0));
}

#[tokio::test]
async fn it_ends_with_its_parent() {
    let files = Files::new();
    let mut process = Process::start(&files, &["--die-with-parent"]);
    process.client().await;
    drop(process.child.stdin.take());
    assert_eq!(process.code().await, Some(0));
}

#[tokio::test]
async fn exit_codes_say_what_was_wrong() {
    let files = Files::new();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for (flags, code, told) in [
        (&["--profile", "/nowhere"][..], exit::CONFIG, "--profile /nowhere"),
        (&["--log-filter", "a=b=c"], exit::USAGE, "log filter"),
        (&["--namespace", "Not A Name"], exit::USAGE, "--namespace"),
        (&["--kv-listen", &taken], exit::UNAVAILABLE, "--kv-listen 127.0.0.1:"),
    ] {
        let mut process = Process::start(&files, flags);
        process.logged(told).await;
        assert_eq!(process.code().await, Some(code.into()), "{flags:?}");
    }
}

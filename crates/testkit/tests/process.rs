//! Processes of tests end when they must, and are told from later ones.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::process::Command;
use std::time::Duration;

use ampd_testkit::process::{Known, Process, Signal, resident_bytes, send};
use ampd_testkit::wait::until;

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> (tempfile::TempDir, Process) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let process = Process::start("shell", command, folder.path()).unwrap();
    (folder, process)
}

#[tokio::test]
async fn what_a_process_says_and_how_it_ends_is_known() {
    let (_folder, mut process) = shell("echo out; echo err >&2; exit 3");
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(3));
    assert_eq!(process.output(), "out\nerr\n");
    let error = process.signal(Signal::KILL).unwrap_err().to_string();
    assert!(error.contains("has ended"), "{error}");
}

#[tokio::test]
async fn a_dropped_process_is_gone_even_when_the_test_panics() {
    let (_folder, process) = shell("exec sleep 1000");
    let known = Known::new(process.pid()).unwrap();
    assert!(known.runs() && resident_bytes(known.pid).unwrap() > 0);
    let panicked = std::thread::spawn(move || {
        let _held = process;
        std::panic::resume_unwind(Box::new("as a failed test does"));
    });
    assert!(panicked.join().is_err());
    assert!(!known.runs());
}

#[tokio::test]
async fn a_stopped_process_goes_on_when_told() {
    let (_folder, mut process) = shell("while read line; do :; done; exit 0");
    send(process.pid(), Signal::STOP).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    until("it is stopped", LIMIT, async || if state().contains(") T ") { Ok(()) } else { Err(state()) })
        .await
        .unwrap();
    assert!(Known::new(process.pid()).is_some(), "a stopped process still runs");
    send(process.pid(), Signal::CONT).unwrap();
    send(process.pid(), Signal::TERM).unwrap();
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), None);
}

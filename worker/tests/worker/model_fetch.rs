//! `ampd-model fetch` as a process: what pods rely on when several start at once, are killed, or have no luck.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ampd_testkit::fake_hub::{FakeHub, Faults, Refusal};
use ampd_testkit::process::{Process, Signal};
use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_testkit::wait::until;
use ampd_worker::process::exit;
use ampd_worker::text::TextModel;
use candle_core::DType;
use candle_core::quantized::GgmlDType;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A hub with a tiny model in both layouts, and a folder to fetch into.
struct Scene {
    hub: FakeHub,
    root: TempDir,
    place: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let tiny = TinyModel::new(Family::Llama);
        let folder = |name: &str| {
            let folder = root.path().join("org").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        tiny.write_huggingface(&folder("tiny"), DType::F32, 2).unwrap();
        tiny.write_gguf(&folder("tiny-gguf").join("tiny.gguf"), GgmlDType::F32).unwrap();
        let hub = FakeHub::start(root.path()).await.unwrap();
        Self { hub, root, place: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("model")
    }

    fn start(&self, name: &str, more: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ampd-model"));
        command.args(["fetch", "--attempts", "2", "--into"]).arg(self.folder()).args(more);
        command.env("HF_ENDPOINT", self.hub.url()).env_remove("HF_TOKEN");
        Process::start(name, command, self.root.path()).unwrap()
    }

    fn gguf_size(&self) -> u64 {
        std::fs::metadata(self.root.path().join("org/tiny-gguf/tiny.gguf")).unwrap().len()
    }

    /// Slow enough that a file takes about `seconds`.
    fn slow(&self, seconds: u64) {
        let bytes_per_second = Some(self.gguf_size() / seconds);
        self.hub.set(Faults { bytes_per_second, ..Faults::default() });
    }

    /// Waits until some bytes of a file are on the disk.
    async fn some_bytes(&self) -> u64 {
        let partial = || -> Option<u64> {
            let entries = std::fs::read_dir(self.folder()).ok()?;
            let mut files = entries.filter_map(Result::ok);
            let found = files.find(|entry| entry.file_name().to_string_lossy().ends_with(".partial"))?;
            Some(found.metadata().ok()?.len()).filter(|len| *len > 0)
        };
        until("bytes arrive", PATIENCE, async || partial().ok_or("none yet")).await.unwrap()
    }
}

async fn code(process: &mut Process) -> Option<i32> {
    process.wait(PATIENCE).await.unwrap().code()
}

fn last_line(process: &Process) -> String {
    process.output().trim_end().lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn both_layouts_can_be_loaded_from_their_folder() {
    for repository in ["org/tiny", "org/tiny-gguf"] {
        let scene = Scene::new().await;
        let mut process = scene.start("fetch", &["--repo", repository, "--log-format", "json"]);
        assert_eq!(code(&mut process).await, Some(0), "{}", process.output());
        for line in process.output().lines() {
            assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        }
        TextModel::load(&scene.folder()).unwrap();
        assert_eq!(
            ampd_engine::model::read_config(&scene.folder()).unwrap().layers,
            TinyModel::new(Family::Llama).layers
        );
    }
}

#[tokio::test]
async fn of_two_on_one_folder_one_fetches_and_the_other_waits() {
    let scene = Scene::new().await;
    scene.slow(2);
    let repo = ["--repo", "org/tiny-gguf"];
    let mut first = scene.start("first", &repo);
    scene.some_bytes().await;
    let mut second = scene.start("second", &repo);
    assert_eq!((code(&mut first).await, code(&mut second).await), (Some(0), Some(0)), "{}", second.output());
    assert!(second.output().contains("another process works on"), "{}", second.output());
    let bodies = scene.hub.seen().into_iter().filter(|seen| seen.at_store && seen.method == "GET").count();
    assert_eq!(bodies, 1);
    TextModel::load(&scene.folder()).unwrap();
}

#[tokio::test]
async fn who_waits_takes_over_from_one_that_was_killed_and_goes_on() {
    let scene = Scene::new().await;
    scene.slow(4);
    let repo = ["--repo", "org/tiny-gguf"];
    let mut first = scene.start("first", &repo);
    scene.some_bytes().await;
    let mut second = scene.start("second", &repo);
    until("the second waits", PATIENCE, async || {
        second.output().contains("another process works on").then_some(()).ok_or("not yet")
    })
    .await
    .unwrap();
    first.signal(Signal::KILL).unwrap();
    scene.hub.set(Faults::default());
    assert_eq!(code(&mut second).await, Some(0), "{}", second.output());
    let seen = scene.hub.seen();
    let last = seen.iter().rfind(|seen| seen.at_store && seen.method == "GET").unwrap();
    assert!(last.range.is_some(), "{last:?}");
    TextModel::load(&scene.folder()).unwrap();
}

#[tokio::test]
async fn waiting_has_an_end() {
    let scene = Scene::new().await;
    scene.slow(20);
    let first = scene.start("first", &["--repo", "org/tiny-gguf"]);
    scene.some_bytes().await;
    let mut second = scene.start("second", &["--repo", "org/tiny-gguf", "--wait", "1s"]);
    assert_eq!(code(&mut second).await, Some(exit::UNAVAILABLE.into()));
    assert!(last_line(&second).contains("another process still works on"), "{}", second.output());
    drop(first);
}

#[tokio::test]
async fn a_signal_ends_it_at_once_and_not_as_a_success() {
    let scene = Scene::new().await;
    scene.slow(20);
    let mut process = scene.start("fetch", &["--repo", "org/tiny-gguf"]);
    scene.some_bytes().await;
    let start = Instant::now();
    process.signal(Signal::TERM).unwrap();
    assert_eq!(code(&mut process).await, Some(exit::STOPPED.into()));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(last_line(&process).contains("what has arrived is kept"), "{}", process.output());
    scene.some_bytes().await;
}

#[tokio::test]
async fn the_last_line_is_the_whole_reason() {
    let scene = Scene::new().await;
    let refuse = |path: &str, status| {
        let refusal = Some(Refusal::new(path, status, u32::MAX));
        scene.hub.set(Faults { refusal, ..Faults::default() });
    };
    let absent = scene.place.path().join("no-token");
    let cases: [(&[&str], u16, u8, &str); 5] = [
        (&["--repo", "org/none"], 200, exit::CONFIG, "has no repository org/none"),
        (&["--repo", "org/tiny"], 401, exit::CONFIG, "the token's Secret"),
        (&["--repo", "org/tiny"], 503, exit::UNAVAILABLE, "answers HTTP 503: try again later"),
        (&["--repo", "tiny"], 200, exit::USAGE, "is not a repository's id"),
        (
            &["--repo", "org/tiny", "--token-file", absent.to_str().unwrap()],
            200,
            exit::CONFIG,
            "is the token's Secret mounted there?",
        ),
    ];
    for (arguments, status, expected, told) in cases {
        if status == 200 {
            scene.hub.set(Faults::default());
        } else {
            refuse("/resolve/", status);
        }
        let mut process = scene.start("fetch", arguments);
        assert_eq!(code(&mut process).await, Some(expected.into()), "{}", process.output());
        assert!(last_line(&process).contains(told), "{told}: {}", process.output());
    }
}

//! `ampd fetch` from a stand-in for Hugging Face.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use ampd_testkit::fake_hub::{FakeHub, Faults};
use tempfile::TempDir;
use tokio::process::Command;

struct Scene {
    hub: FakeHub,
    place: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("hub/org/gguf");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["a.gguf", "b.gguf"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        let hub = FakeHub::start(&place.path().join("hub")).await.unwrap();
        Self { hub, place }
    }

    async fn fetch(&self, model: &str, endpoint: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ampd"));
        command.args(["fetch", "--model", model]).kill_on_drop(true);
        command.env("HF_ENDPOINT", endpoint).env_remove("HF_TOKEN").env_remove("HF_HUB_CACHE");
        command.env("AMPD_CACHE", self.place.path().join("cache"));
        command.env("HF_HOME", self.place.path().join("huggingface"));
        let ended = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
        ended.expect("the command ends").unwrap()
    }

    fn stored_token(&self, token: &str) {
        let home = self.place.path().join("huggingface");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("token"), token).unwrap();
    }
}

fn path(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", told(output));
    PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim_end())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_file_is_fetched_once_and_used_when_the_hub_is_away() {
    let scene = Scene::new().await;
    let first = scene.fetch("org/gguf:a.gguf", &scene.hub.url()).await;
    let file = path(&first);
    assert_eq!(std::fs::read(&file).unwrap(), b"a.gguf");
    assert!(file.starts_with(scene.place.path().join("cache")), "{}", file.display());
    let other = path(&scene.fetch("org/gguf:b.gguf", &scene.hub.url()).await);
    assert_ne!(Path::new(file.parent().unwrap()), other.parent().unwrap());
    let away = scene.fetch("org/gguf:a.gguf", "http://127.0.0.1:1").await;
    assert_eq!(path(&away), file);
    assert!(told(&away).contains("the hub cannot be asked"), "{}", told(&away));
}

#[tokio::test]
async fn the_token_of_the_hubs_own_tools_is_sent_and_refusals_say_what_to_do() {
    let scene = Scene::new().await;
    scene.hub.set(Faults { token: Some("right".into()), ..Faults::default() });
    let refused = scene.fetch("org/gguf:a.gguf", &scene.hub.url()).await;
    assert!(!refused.status.success() && told(&refused).contains("HF_TOKEN"), "{}", told(&refused));
    scene.stored_token("right\n");
    path(&scene.fetch("org/gguf:a.gguf", &scene.hub.url()).await);
    let several = scene.fetch("org/gguf", &scene.hub.url()).await;
    assert!(told(&several).contains("a.gguf, b.gguf"), "{}", told(&several));
}

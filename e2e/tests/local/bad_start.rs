//! Starts that cannot succeed: the program ends soon, and says which file, field or flag is at fault.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role};
use ampd_testkit::cluster::{binary, skipped};
use ampd_testkit::process::Process;
use ampd_testkit::tiny_model::{Family, TinyModel};
use candle_core::DType;
use candle_core::quantized::GgmlDType;

/// Longest time until the program has ended: nothing large is loaded.
const END: Duration = Duration::from_secs(20);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::new("bad", Duration::from_hours(1)).unwrap();
        let tls = folder.path().join("tls");
        std::fs::create_dir(&tls).unwrap();
        authority.issue(&Identity::new("tests", "bad", Role::Decode).unwrap()).unwrap().write(&tls).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gguf(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let path = self.path(name);
        TinyModel::new(Family::Llama).write_gguf(&path, GgmlDType::F32).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        TinyModel::new(Family::Qwen3).write_huggingface(&path, DType::F32, 2).unwrap();
        path
    }

    fn worker(&self, model: &Path, listen: &str) -> Command {
        let mut command = self.command();
        command.args(["worker", "--role", "decode", "--name", "decode-0", "--namespace", "tests"]);
        command.args(["--service", "bad", "--listen", listen, "--kv-listen", "127.0.0.1:0"]);
        command.arg("--tls-dir").arg(self.path("tls")).arg("--model").arg(model);
        command
    }

    /// A command whose cache and run folders go with this place.
    fn command(&self) -> Command {
        let mut command = Command::new(binary().unwrap());
        command.env("XDG_RUNTIME_DIR", self.folder.path()).env("AMPD_CACHE", self.path("cache"));
        command
    }

    fn local(&self, model: &Path, port: u16) -> Command {
        let mut command = self.command();
        command.args(["local", "--prefill", "1", "--decode", "1", "--port", &port.to_string()]);
        command.arg("--model").arg(model);
        command
    }

    /// Runs a command that must fail, and gives what it says.
    async fn fails(&self, command: Command) -> String {
        let shown = format!("{command:?}");
        let mut process = Process::start("program", command, self.folder.path()).unwrap();
        let status = process.wait(END).await.unwrap();
        let output = process.output();
        assert!(!status.success(), "{shown} succeeded: {output}");
        // A panic or an abort is no error message.
        assert!(status.code().is_some() && !output.contains("panicked"), "{shown}: {status}: {output}");
        output
    }
}

/// Whether the program is there.
fn equipped() -> bool {
    let equipped = binary().is_ok();
    if !equipped {
        skipped("the program `ampd`");
    }
    equipped
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[tokio::test]
async fn damaged_models_are_refused_with_their_file_named() {
    if !equipped() {
        return;
    }
    let place = Place::new();
    let index = place.folder("index");
    std::fs::remove_file(index.join("model-00002-of-00002.safetensors")).unwrap();
    let config = place.folder("config");
    let text = std::fs::read_to_string(config.join("config.json")).unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["hidden_size"] = (-1).into();
    std::fs::write(config.join("config.json"), fields.to_string()).unwrap();
    let models = [
        (place.gguf("truncated.gguf", |bytes| bytes.truncate(bytes.len() / 2)), "truncated.gguf"),
        (place.gguf("magic.gguf", |bytes| bytes[0] = b'X'), "magic.gguf"),
        (place.gguf("other.gguf", |bytes| replace(bytes, b"llama", b"mamba")), "mamba"),
        (place.path("absent.gguf"), "absent.gguf"),
        (index, "model-00002-of-00002.safetensors"),
        (config, "hidden_size"),
    ];
    for (model, named) in &models {
        let output = place.fails(place.worker(model, "127.0.0.1:0")).await;
        assert!(output.contains(named), "worker: {named} is not named: {output}");
    }
    // The same through the command that people use.
    for (model, named) in &models {
        let output = place.fails(place.local(model, 0)).await;
        assert!(output.contains(named), "local: {named} is not named: {output}");
    }
}

#[tokio::test]
async fn a_model_without_tokenizer_cannot_be_served() {
    if !equipped() {
        return;
    }
    let place = Place::new();
    let model = place.folder("plain");
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    let output = place.fails(place.local(&model, 0)).await;
    assert!(output.contains("tokenizer.json"), "{output}");
}

#[tokio::test]
async fn a_port_in_use_is_said_with_its_flag() {
    if !equipped() {
        return;
    }
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let model = place.gguf("good.gguf", |_| {});
    let output = place.fails(place.worker(&model, &address.to_string())).await;
    assert!(output.contains("--listen") && output.contains("in use"), "{output}");
    let output = place.fails(place.local(&model, address.port())).await;
    assert!(output.contains("--port") && output.contains("in use"), "{output}");
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_every_field_named() {
    if !equipped() {
        return;
    }
    let place = Place::new();
    let manifest = place.path("service.yaml");
    let text = "apiVersion: ampd.dev/v1alpha1\nkind: AMPDService\nmetadata:\n  name: bad\nspec:\n  modle: {}\n  \
                slo:\n    ttft: soon\n  decode:\n    replicas:\n      min: -1\n";
    std::fs::write(&manifest, text).unwrap();
    for arguments in [["check"], ["local"]] {
        let mut command = place.command();
        command.args(arguments).arg("-f").arg(&manifest);
        let output = place.fails(command).await;
        for field in ["modle", "spec.slo.ttft", "spec.decode.replicas"] {
            assert!(output.contains(field), "{arguments:?}: {field} is not named: {output}");
        }
    }
}

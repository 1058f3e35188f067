//! `ampd profile` on a tiny random model.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ampd_perfmodel::Profile;
use ampd_testkit::tiny_model::{Family, TinyModel};
use candle_core::quantized::GgmlDType;

fn command(folder: &Path) -> Command {
    let model = folder.join("tiny-1.5.gguf");
    TinyModel::new(Family::Llama).write_gguf(&model, GgmlDType::F32).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ampd"));
    command.args(["profile", "--threads", "1", "--model"]).arg(model);
    command.env("AMPD_CACHE", folder.join("cache"));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn what_was_measured_is_written_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("profile.json");
    let output = command(folder.path()).arg("--out").arg(&out).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in ["prefill: history", "decode: rows", "transfer: tokens", "T_pre", "profile.json"] {
        assert!(said.contains(part), "{part:?}:\n{said}");
    }
    let profile = Profile::from_json(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((profile.model.as_str(), profile.backend.as_str(), profile.threads), ("tiny-1.5", "cpu", 1));
    assert!(profile.points.prefill.len() >= 4 && profile.perf.prefill_s(0.0, 64.0) > 0.0);
    assert!(!folder.path().join("cache").exists(), "it was not to be kept");
}

#[test]
fn the_profile_is_stored_though_nobody_reads_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(folder.path()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(std::fs::read_dir(folder.path().join("cache")).unwrap().count(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path()).args(["--out", "/no/such/profile.json"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--out /no/such/profile.json") && !said.contains("measuring"), "{said}");
}

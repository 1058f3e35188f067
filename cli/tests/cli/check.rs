//! `ampd check` on good and bad manifests.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn check(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ampd")).arg("check").arg("-f").arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Each bad manifest says in its first lines what has to be told of it.
#[test]
fn every_fault_of_a_bad_manifest_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let manifest = text(&std::fs::read(&path).unwrap());
        let output = check(&path);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}: {told}", path.display());
        let expected = manifest.lines().map_while(|line| line.strip_prefix("# expect: ")).collect::<Vec<_>>();
        assert!(!expected.is_empty(), "{}", path.display());
        for part in expected {
            assert!(told.contains(part), "{} should tell {part:?}:\n{told}", path.display());
        }
        checked += 1;
    }
    assert!(checked >= 10);
}

#[test]
fn a_good_manifest_is_summed_up_with_what_to_do_next() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/smollm2.yaml");
    let output = check(&path);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    for part in ["default/smollm2", "smollm2-135m-instruct", "2 prefill, 2 decode", "ampd local -f"] {
        assert!(told.contains(part), "{part:?}:\n{told}");
    }
    assert!(!told.contains("--model"), "{told}");

    let text = std::fs::read_to_string(&path).unwrap();
    let claim = "persistentVolumeClaim: {claimName: models, path: smollm2}";
    let from = text.find("huggingFace:").unwrap();
    let source = &text[from..from + text[from..].find("\n\n").unwrap()];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.replace(source, claim)).unwrap();
    let told = String::from_utf8(check(file.path()).stdout).unwrap();
    assert!(told.contains("on the claim models") && told.contains("--model PATH"), "{told}");
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/smollm2.yaml");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_ampd"))
        .arg("check")
        .arg("-f")
        .arg(path)
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_manifest_comes_from_standard_input_too_and_a_missing_file_is_named() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ampd"))
        .args(["check", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"kind: 7\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("on standard input"));

    let output = check(Path::new("no/such.yaml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no/such.yaml"), "{}", text(&output.stderr));
}

//! `ampd evaluate`, `ampd simulate` and `ampd workload`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ampd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ampd")).args(arguments).output().unwrap()
}

fn told(arguments: &[&str]) -> String {
    let output = ampd(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = ampd(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Files of a test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// A service of three prefill and five decode workers with four accelerators each.
    fn service(&self) -> String {
        let degree = "tensorParallel: [4], replicas: {min:";
        self.with(
            "service.yaml",
            &format!(
                "apiVersion: ampd.dev/v1alpha1\nkind: AMPDService\nmetadata: {{name: agents}}\nspec:\n  \
                 model: {{name: qwen3-32b, source: {{path: /models/qwen3-32b}}}}\n  \
                 slo: {{ttft: 1200ms, itl: 20ms, targetPercent: 90}}\n  accelerator: {{budget: {{max: 32}}}}\n  \
                 prefill: {{{degree} 3}}}}\n  decode: {{{degree} 5}}}}\n"
            ),
        )
    }

    /// Sessions of two rounds, one a second.
    fn trace(&self) -> String {
        let line = |n: u32| {
            format!(
                "{{\"arrival_s\": {n}, \"rounds\": [{{\"new_input_tokens\": 900, \"output_tokens\": 40}}, \
                 {{\"new_input_tokens\": 60, \"output_tokens\": 80, \"think_time_s\": 0.5}}]}}\n"
            )
        };
        self.with("trace.jsonl", &(0..60).map(line).collect::<String>())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_quick_evaluation_writes_the_same_json_on_any_number_of_threads() {
    let (one, two) = (Files::new(), Files::new());
    for (files, threads) in [(&one, "1"), (&two, "2")] {
        let folder = files.0.path().to_str().unwrap();
        let printed = told(&["evaluate", "--quick", "--docs", folder, "--threads", threads]);
        assert!(printed.contains("| ampd |") && printed.contains("evaluation.md"), "{printed}");
    }
    let json = read(&one.path("evaluation.json"));
    assert_eq!(json, read(&two.path("evaluation.json")));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let cell = &value["cells"][0];
    // Four policies, two splits, two loads.
    assert_eq!(cell["rows"].as_array().unwrap().len(), 16);
    assert!(cell["rows"][0]["attainment"]["half_width"].is_number());
    assert!(cell["goodputs"].as_array().unwrap().iter().all(|goodput| goodput["rate"]["mean"].is_number()));
    let document = read(&one.path("evaluation.md"));
    for part in [
        "## Goals",
        "## Goodput",
        "## Attainment",
        "## Disturbances",
        "## The paper's claims",
        "attainment.svg",
    ] {
        assert!(document.contains(part), "{part}");
    }
    for plot in ["attainment", "goodput", "ttft", "itl", "local-share", "ablations"] {
        assert!(read(&one.path(&format!("evaluation/{plot}.svg"))).starts_with("<svg"), "{plot}");
    }
}

#[test]
fn any_trace_can_be_evaluated() {
    let files = Files::new();
    let (trace, json) = (files.trace(), files.path("out.json"));
    let arguments = ["evaluate", "--trace", &trace, "--model", "llama-3.1-70b", "--gpus", "8"];
    let more = ["--policies", "ampd,always_remote", "--seeds", "2", "--json", json.to_str().unwrap()];
    let printed = told(&[&arguments[..], &more[..]].concat());
    assert!(printed.contains("llama-3.1-70b/h20/tp4, trace.jsonl"), "{printed}");
    assert!(!printed.contains("always_local"), "{printed}");
    let value: serde_json::Value = serde_json::from_str(&read(&json)).unwrap();
    assert_eq!(value["cells"][0]["goodputs"][0]["by_seed"].as_array().unwrap().len(), 2);
}

#[test]
fn a_service_is_simulated_under_its_own_policy_or_another() {
    let files = Files::new();
    let (service, trace) = (files.service(), files.trace());
    let arguments = ["simulate", "-f", &service, "--trace", &trace, "--model", "qwen3-32b"];
    let ours = told(&arguments);
    for part in [
        "default/agents",
        "3 prefill and 5 decode workers, policy ampd",
        "120 rounds",
        "TTFT",
        "meets the target",
    ] {
        assert!(ours.contains(part), "{part}: {ours}");
    }
    assert_eq!(ours, told(&arguments));
    let paper = told(&[&arguments[..], &["--policy", "paper", "--rate", "3"]].concat());
    assert!(paper.contains("policy paper"), "{paper}");
}

#[test]
fn what_was_measured_is_simulated_and_compared() {
    let files = Files::new();
    let round = |session: u32, number: u32, sent_s: u32| {
        format!(
            "{{\"session\": {session}, \"round\": {number}, \"sent_s\": {sent_s}, \"ttft_s\": 0.4, \"itl_s\": 0.01, \
             \"total_s\": 0.5, \"prompt_tokens\": {}, \"cached_tokens\": 0, \"output_tokens\": 20, \
             \"prefill\": \"local\"}}",
            900 * number
        )
    };
    let rounds: Vec<String> = (0..10).flat_map(|n| [round(n, 1, 2 * n), round(n, 2, 2 * n + 1)]).collect();
    let measured = files.with("run.json", &format!("{{\"seed\": 1, \"rounds\": [{}]}}", rounds.join(",")));
    let service = files.service();
    let arguments = ["simulate", "-f", &service, "--model", "qwen3-32b", "--measured"];
    let compared = told(&[&arguments[..], &[&measured]].concat());
    for part in [
        "20 rounds in",
        "20 rounds that ended were measured",
        "TTFT P50",
        "400.0 ms",
        "mean ITL P95",
        "local",
    ] {
        assert!(compared.contains(part), "{part}: {compared}");
    }
    let other = refused(&[&arguments[..], &[&files.trace()]].concat());
    assert!(other.contains("trace.jsonl is not what ampd bench --json writes"), "{other}");
    let none = refused(&[&arguments[..], &[&files.with("none.json", "{\"rounds\": []}")]].concat());
    assert!(none.contains("none.json has no round that ended"), "{none}");
}

#[test]
fn a_known_workload_is_a_trace() {
    let files = Files::new();
    let workload =
        |name: &str| ["workload", name, "--rate", "3", "--duration", "40s", "--seed", "5"].map(String::from);
    let printed = |name: &str| told(&workload(name).each_ref().map(String::as_str));
    let trace = printed("toolbench");
    assert_eq!(trace, printed("toolbench"));
    assert!((90..150).contains(&trace.lines().count()), "{}", trace.lines().count());
    let path = files.with("toolbench.jsonl", &trace);
    let simulated = told(&["simulate", "-f", &files.service(), "--trace", &path, "--model", "qwen3-32b"]);
    assert!(simulated.contains("meets the target"), "{simulated}");
    let error = refused(&["workload", "none"]);
    assert!(
        error.contains("there is no workload none; there are toolbench, gaia, hotpotqa, dureader"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_is_told() {
    let files = Files::new();
    let (service, good) = (files.service(), files.trace());
    let simulate = |trace: &str, more: &[&str]| {
        refused(&[&["simulate", "-f", &service, "--trace", trace, "--model", "qwen3-32b"], more].concat())
    };
    let round = "{\"new_input_tokens\": 9, \"output_tokens\": 9";
    for (text, says) in [
        (String::new(), "the trace holds no session"),
        ("{}\n".into(), "line 1: not the JSON of a session: missing field `rounds`"),
        (
            format!(
                "\n{{\"arrival_s\": 0, \"rounds\": [{round}}}, {{\"new_input_tokens\": -1, \"output_tokens\": 1}}]}}"
            ),
            "line 2: new_input_tokens of round 2 is -1",
        ),
        (
            format!("{{\"arrival_s\": 0, \"rounds\": [{round}, \"round\": 2}}]}}"),
            "line 1: round 2 comes where round 1 is due",
        ),
        (format!("{{\"rounds\": [{round}}}]}}"), "session 1 of the trace has no arrival_s: give --rate"),
        (
            "{\"arrival_s\": 0, \"rounds\": [{\"new_input_tokens\": 200000, \"output_tokens\": 9}]}".into(),
            "session 1: the session reaches 200009 tokens",
        ),
    ] {
        let error = simulate(&files.with("bad.jsonl", &text), &[]);
        assert!(error.contains(says), "{says}: {error}");
    }
    for (more, says) in [
        (&["--rate", "0"][..], "the rate is 0 sessions a second"),
        (&["--policy", "best"], "there is no policy best; there are ampd, "),
    ] {
        let error = simulate(&good, more);
        assert!(error.contains(says), "{says}: {error}");
    }
    let of = |model: &str| refused(&["simulate", "-f", &service, "--trace", &good, "--model", model]);
    assert!(
        of("qwen3-32b/h20/tp2")
            .contains("spec.prefill.tensorParallel allows 4; qwen3-32b/h20/tp2 was measured with 2")
    );
    assert!(of("gpt").contains("there is no worker type gpt; there are qwen3-32b/h20/tp4"));
    let few = refused(&["evaluate", "--trace", &good, "--model", "qwen3-32b", "--gpus", "7"]);
    assert!(few.contains("--gpus is 7"), "{few}");
}

#[test]
fn memory_bounds_sessions_too() {
    let files = Files::new();
    let service = read(Path::new(&files.service()))
        .replace("decode: {tensorParallel", "decode: {engine: {kvCache: 64Mi}, tensorParallel");
    let service = files.with("small.yaml", &service);
    let error = refused(&["simulate", "-f", &service, "--trace", &files.trace(), "--model", "qwen3-32b"]);
    assert!(error.contains("a decode worker's KV memory holds 256"), "{error}");
}

//! `ampd plan`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::process::{Command, Output};

fn ampd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ampd")).args(arguments).output().unwrap()
}

/// A folder with a manifest and, where it is asked for, a trace.
struct Files(tempfile::TempDir);

const WORKLOAD: &str = "{sessionsPerMinute: 120, roundsPerSession: 3, firstInputTokens: 900, incrementTokens: 200, \
                        outputTokens: 60, gap: 1s}";

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A service with workers of two or four accelerators, under a budget of 16 and a declared workload.
    fn service(&self, more: &str) -> String {
        self.with(
            "service.yaml",
            &format!(
                "apiVersion: ampd.dev/v1alpha1\nkind: AMPDService\nmetadata: {{name: agents}}\nspec:\n  \
                 model: {{name: qwen3-32b, source: {{path: /models/qwen3-32b}}}}\n  \
                 slo: {{ttft: 1500ms, itl: 25ms, targetPercent: 90}}\n  \
                 prefill: {{tensorParallel: [2, 4]}}\n  decode: {{tensorParallel: [2, 4]}}\n{more}"
            ),
        )
    }

    fn declared(&self) -> String {
        self.service(&format!("  accelerator: {{budget: {{max: 16}}}}\n  workload: {WORKLOAD}\n"))
    }
}

fn planned(service: &str, more: &[&str]) -> (bool, String, String) {
    let output = ampd(&[&["plan", "-f", service, "--model", "qwen3-32b"], more].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_declared_workload_is_planned() {
    let files = Files::new();
    let (service, svg) = (files.declared(), files.0.path().join("plan.svg"));
    let (good, text, error) = planned(&service, &["--svg", svg.to_str().unwrap()]);
    assert!(good, "{text}{error}");
    for part in [
        "default/agents: 2.000 sessions/s",
        "the fewest accelerators",
        "attained",
        "rounds simulated, seed 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
    assert_eq!(planned(&service, &[]).1, text);
    let (_, json, _) = planned(&service, &["--json", "--objective", "bestAttainment"]);
    let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&plan["goal"], &plan["verdict"]["is"]), (&"bestAttainment".into(), &"meets".into()));
    assert!(plan["deployment"]["decode"]["replicas"].as_u64().unwrap() > 0);
    assert!(plan["predicted"]["attainment"]["half_width"].is_number());
}

#[test]
fn what_a_budget_is_too_small_for_says_what_would_be_needed() {
    let files = Files::new();
    let (good, text, error) = planned(&files.declared(), &["--gpus", "4", "--rate", "x3"]);
    assert!(!good && error.is_empty(), "{error}");
    assert!(text.contains("miss the target") && text.contains("Needed are"), "{text}");
}

#[test]
fn a_trace_is_planned_for() {
    let files = Files::new();
    let line = |n: u32| {
        format!(
            "{{\"arrival_s\": {n}, \"rounds\": [{{\"new_input_tokens\": 900, \"output_tokens\": 40}}]}}\n"
        )
    };
    let trace = files.with("trace.jsonl", &(0..30).map(line).collect::<String>());
    let service = files.service("  accelerator: {}\n");
    let (good, text, error) = planned(&service, &["--trace", &trace, "--gpus", "16", "--rate", "x2"]);
    assert!(good && text.contains("2.000 sessions/s"), "{text}{error}");
    let few = files.with("few.jsonl", &line(0));
    let (good, _, error) = planned(&service, &["--trace", &few, "--gpus", "16"]);
    assert!(!good && error.contains("the workload holds 1 sessions, 10 at least"), "{error}");
}

#[test]
fn what_cannot_be_planned_is_told() {
    let files = Files::new();
    let declared = files.declared();
    let refused = |service: &str, more: &[&str]| {
        let (good, _, error) = planned(service, more);
        assert!(!good, "{more:?}");
        error
    };
    for (more, says) in [
        (&["--gpus", "0"][..], "the budget of accelerators is 0"),
        (&["--gpus", "100000"], "the budget of accelerators is 100000, it must be from 1 to 65536"),
        (&["--rate", "2x"], "--rate is \"2x\""),
        (&["--rounds", "5"], "effort.rounds is 5, a single run takes"),
    ] {
        let error = refused(&declared, more);
        assert!(error.contains(says), "{says}: {error}");
    }
    let bare = files.service("  accelerator: {}\n");
    assert!(refused(&bare, &[]).contains("spec.accelerator.budget.max is not given"));
    let error = refused(&bare, &["--gpus", "8"]);
    assert!(error.contains("spec.workload.sessionsPerMinute is not given"), "{error}");
}

//! `ampd bench` against a running service.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::process::{Command, Output};

use ampd_testkit::cluster::{LocalCluster, LocalOptions, binary, model, skipped};
use serde_json::Value;

/// Six sessions of three rounds, of lengths that a scale of a tenth makes small.
fn trace() -> String {
    let line = |index: usize| {
        format!(
            r#"{{"arrival_s": {index}, "rounds": [{{"new_input_tokens": 900, "output_tokens": 80}}, {{"new_input_tokens": 400, "output_tokens": 60, "think_time_s": 0.2}}, {{"new_input_tokens": 500, "output_tokens": 50, "think_time_s": 0.1}}]}}"#
        )
    };
    (0..6).map(line).collect::<Vec<_>>().join("\n")
}

async fn bench(arguments: Vec<String>) -> anyhow::Result<Output> {
    let mut command = Command::new(binary()?);
    command.arg("bench").args(arguments);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

#[tokio::test]
async fn a_trace_is_replayed_and_measured() -> anyhow::Result<()> {
    if model().is_none() {
        skipped("AMPD_MODEL");
        return Ok(());
    }
    let cluster = LocalCluster::start(LocalOptions::new(1, 1)).await?;
    let folder = tempfile::tempdir()?;
    let (trace_file, json) = (folder.path().join("trace.jsonl"), folder.path().join("run.json"));
    let csv = folder.path().join("run.csv");
    std::fs::write(&trace_file, trace())?;
    let [trace_text, json_text, csv_text] = [&trace_file, &json, &csv].map(|path| path.display().to_string());
    let arguments = |rate: &str| {
        let url = format!("{}/v1", cluster.url);
        [
            "--url",
            &url,
            "--trace",
            &trace_text,
            "--rate",
            rate,
            "--scale",
            "0.1",
            "--ttft",
            "30s",
            "--itl",
            "5s",
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let files = ["--json", &json_text, "--csv", &csv_text].map(str::to_owned);
    let done = bench([arguments("3"), files.to_vec()].concat()).await?;
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.starts_with("18 of 18 rounds attained: 100.0 %"), "{said}");
    assert_eq!(std::fs::read_to_string(&csv)?.lines().count(), 19);
    let run: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    for record in run["rounds"].as_array().unwrap() {
        let (round, wanted) = (record["round"].as_u64().unwrap(), [90.0, 138.0, 194.0]);
        let prompt = record["prompt_tokens"].as_f64().unwrap();
        let planned = wanted[usize::try_from(round)? - 1];
        assert!(
            (prompt / planned - 1.0).abs() < 0.2,
            "{prompt} tokens where {planned} were planned: {record}"
        );
        assert_eq!(record["output_tokens"], [8, 6, 5][usize::try_from(round)? - 1], "{record}");
        assert_eq!(record["cached_tokens"].as_u64() > Some(0), round > 1, "{record}");
        assert!(["local", "remote"].contains(&record["prefill"].as_str().unwrap()), "{record}");
    }
    // What makes no sense is told before anything is sent.
    let refused = bench(arguments("0")).await?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("rate is 0, must be a number above 0"), "{words}");
    std::fs::write(&trace_file, "\n{\"rounds\": []}\n")?;
    let refused = bench(arguments("1")).await?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("line 2"), "{words}");
    cluster.stop().await
}

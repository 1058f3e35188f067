//! The table against what is rendered, and against the document.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use ampd_telemetry::exposition::{self, Sample};
use ampd_telemetry::table::sidecar::round_class;
use ampd_telemetry::table::{self, Kind, Metric, OTHER, Values};
use ampd_telemetry::{KvBlocks, LoadSample, OperatorMetrics, SidecarMetrics, WorkerMetrics};

fn samples(text: &str) -> Vec<Sample> {
    exposition::parse(text.as_bytes()).unwrap()
}

/// The rows that samples belong to; each sample must belong to one, with its labels and values.
fn rows_of(samples: &[Sample], tables: &[&[Metric]], constant: &[&str]) -> BTreeSet<&'static str> {
    let rows: Vec<&Metric> = tables.iter().copied().flatten().collect();
    samples
        .iter()
        .map(|sample| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
            let row = rows
                .iter()
                .find(|row| row.name == sample.name || row.kind == Kind::Histogram && Some(row.name) == base);
            let row = row.unwrap_or_else(|| panic!("{} is not in the table", sample.name));
            let names = row.labels.iter().map(|label| label.name).chain(constant.iter().copied());
            let bucket = sample.name.ends_with("_bucket").then_some("le");
            let expected: BTreeSet<&str> = names.chain(bucket).collect();
            let found: BTreeSet<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(found, expected, "labels of {}", sample.name);
            for label in row.labels {
                if let Values::Fixed(values) = label.values {
                    let value = sample.label(label.name).unwrap();
                    assert!(values.contains(&value), "{}: {value}", sample.name);
                }
            }
            row.name
        })
        .collect()
}

fn names(tables: &[&'static [Metric]]) -> BTreeSet<&'static str> {
    tables.iter().copied().flatten().map(|row| row.name).collect()
}

#[test]
fn a_worker_renders_its_table() {
    let metrics = WorkerMetrics::new("default/chat", "decode", "decode-0").unwrap();
    metrics.kv_refused.with(["digest"]).inc();
    metrics.remote_fallbacks.with(["timeout"]).inc();
    let samples = samples(&metrics.render().unwrap());
    let tables = [table::worker::TABLE, table::process::TABLE];
    assert_eq!(rows_of(&samples, &tables, &["ampd_service", "role", "worker"]), names(&tables));
    assert!(
        samples.iter().all(|s| s.label("worker") == Some("decode-0") && s.label("role") == Some("decode"))
    );
    let value = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap().value;
    assert!(value("process_resident_memory_bytes") > 1e5 && value("process_resident_memory_bytes") < 1e11);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_threads") >= 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = value("process_start_time_seconds");
    assert!(start > now - 3600.0 && start < now + 60.0, "started at {start}, now is {now}");
}

#[test]
fn a_sidecar_renders_its_table() {
    let metrics = SidecarMetrics::new("default/chat", "decode-0").unwrap();
    metrics.prefill_decisions.with(["local", "decode_slack"]).inc();
    metrics.remote_fallbacks.with(["timeout"]).inc();
    metrics.signal_age_seconds.with(["prefill-0"]).set(0.1);
    metrics.signal_reads.with(["ok"]).inc();
    metrics.http_requests.with(["/v1/chat/completions", "200"]).inc();
    for round in [1, 2, 4, 5, 9, 10, 1000] {
        metrics.round_ttft_seconds.with([round_class(round), "remote"]).observe(0.2);
    }
    let samples = samples(&metrics.render().unwrap());
    let tables = [table::sidecar::TABLE, table::process::TABLE];
    assert_eq!(rows_of(&samples, &tables, &["ampd_service", "sidecar"]), names(&tables));
    let counts: Vec<f64> = ["1", "2-4", "5-9", "10+"]
        .iter()
        .map(|class| {
            let of_class = |s: &&Sample| {
                s.name == "ampd_round_ttft_seconds_count"
                    && s.label("round") == Some(class)
                    && s.label("prefill") == Some("remote")
            };
            samples.iter().find(of_class).unwrap().value
        })
        .collect();
    assert_eq!(counts, [1.0, 2.0, 2.0, 2.0]);
}

#[test]
fn an_operator_renders_its_table() {
    let metrics = OperatorMetrics::new().unwrap();
    metrics.objects.with(["AMPDService"]).set(2.0);
    metrics.reconciles.with(["ok"]).inc();
    metrics.api_writes.with(["Deployment", "apply"]).inc();
    metrics.watch_restarts.with(["Deployment"]).inc();
    let samples = samples(&metrics.render().unwrap());
    let tables = [table::operator::TABLE, table::process::TABLE];
    assert_eq!(rows_of(&samples, &tables, &[]), names(&tables));
    let value = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap().value;
    assert!(value("ampd_operator_last_success_timestamp_seconds").is_nan(), "nothing has succeeded yet");
    assert_eq!(value("ampd_operator_leader"), 0.0);
}

#[test]
fn the_load_is_what_routing_reads_and_no_more() {
    let metrics = WorkerMetrics::new("default/chat", "prefill", "prefill-0").unwrap();
    let first = samples(&metrics.render_load().unwrap());
    let value = |samples: &[Sample], name: &str| samples.iter().find(|s| s.name == name).unwrap().value;
    assert!(value(&first, "ampd_worker_windowed_ttft_seconds").is_nan());
    assert!(value(&first, "ampd_worker_windowed_itl_seconds").is_nan());
    assert_eq!(value(&first, "ampd_worker_ready"), 0.0);

    let load = LoadSample {
        running_rounds: 3,
        queued_prefills: 2,
        queued_prefill_tokens: 900,
        backlog_seconds: 0.5,
        context_tokens_mean: 77.5,
        windowed_ttft_seconds: Some(0.25),
        windowed_itl_seconds: None,
        kv_blocks: KvBlocks { total: 10, free: 4, active: 3, leased: 2, cached: 1 },
        sessions: 5,
        max_context_tokens: 320,
        token_budget: 512,
        reference_prefill_seconds: 0.4,
        reference_step_seconds: 0.02,
        ready: true,
    };
    metrics.set_load(&load);
    let text = metrics.render_load().unwrap();
    let samples = samples(&text);
    let loads: BTreeSet<&str> =
        table::worker::TABLE.iter().filter(|row| row.load).map(|row| row.name).collect();
    assert_eq!(rows_of(&samples, &[table::worker::TABLE], &["ampd_service", "role", "worker"]), loads);
    assert_eq!(value(&samples, "ampd_worker_running_rounds"), 3.0);
    assert_eq!(value(&samples, "ampd_worker_windowed_ttft_seconds"), 0.25);
    assert!(value(&samples, "ampd_worker_windowed_itl_seconds").is_nan());
    assert_eq!(value(&samples, "ampd_worker_ready"), 1.0);
    assert_eq!(value(&samples, "ampd_worker_max_context_tokens"), 320.0);
    assert_eq!(value(&samples, "ampd_worker_token_budget"), 512.0);
    assert_eq!(value(&samples, "ampd_worker_reference_prefill_seconds"), 0.4);
    assert_eq!(value(&samples, "ampd_worker_reference_step_seconds"), 0.02);
    let class = |class: &str| {
        let wanted = |s: &&Sample| s.name == "ampd_worker_kv_blocks" && s.label("class") == Some(class);
        samples.iter().find(wanted).unwrap().value
    };
    assert_eq!(class("free") + class("active") + class("leased") + class("cached"), class("total"));
    assert!(text.len() < 4096, "{} bytes are much for every 100 ms", text.len());
}

#[test]
fn a_reader_never_sees_half_of_a_load() {
    let metrics = WorkerMetrics::new("default/chat", "decode", "decode-0").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..2000 {
                let free = round % 100;
                let kv_blocks = KvBlocks { total: 100, free, active: 100 - free, ..KvBlocks::default() };
                metrics.set_load(&LoadSample { kv_blocks, ..LoadSample::default() });
            }
        });
        metrics.set_load(&LoadSample::default());
        while !writer.is_finished() {
            let samples = samples(&metrics.render_load().unwrap());
            let blocks = samples.iter().filter(|sample| sample.name == "ampd_worker_kv_blocks");
            let (total, others): (Vec<_>, Vec<_>) =
                blocks.partition(|sample| sample.label("class") == Some("total"));
            assert_eq!(total[0].value, others.iter().map(|sample| sample.value).sum::<f64>());
        }
    });
}

#[test]
fn label_values_are_bounded() {
    let metrics = SidecarMetrics::new("default/chat", "decode-0").unwrap();
    for index in 0..1000 {
        metrics.http_requests.with([&format!("/{index}"), "404"]).inc();
    }
    metrics.http_requests.with([&"/x".repeat(500), "404"]).inc();
    metrics.rounds.with(["lost"]).inc();
    let samples = samples(&metrics.render().unwrap());
    let routes: Vec<&Sample> = samples.iter().filter(|s| s.name == "ampd_http_requests_total").collect();
    assert_eq!(routes.len(), 33, "32 routes and the rest");
    let rest = routes.iter().find(|sample| sample.label("route") == Some(OTHER)).unwrap();
    assert_eq!(rest.value, 969.0);
    assert!(samples.iter().any(|s| s.name == "ampd_rounds_total" && s.label("outcome") == Some(OTHER)));
}

#[test]
fn workers_that_are_gone_make_room() {
    let metrics = SidecarMetrics::new("default/chat", "decode-0").unwrap();
    for index in 0..1000 {
        let worker = format!("prefill-{index}");
        metrics.signal_age_seconds.with([&worker]).set(1.0);
        metrics.signal_age_seconds.remove([&worker]);
    }
    metrics.signal_age_seconds.with(["prefill-x"]).set(1.0);
    let samples = samples(&metrics.render().unwrap());
    let ages: Vec<_> = samples.iter().filter(|s| s.name == "ampd_signal_age_seconds").collect();
    assert_eq!(ages.len(), 1);
    assert_eq!(ages[0].label("worker"), Some("prefill-x"));
}

#[test]
fn rows_are_well_formed() {
    let tables = [table::worker::TABLE, table::sidecar::TABLE, table::operator::TABLE, table::process::TABLE];
    let rows: Vec<&Metric> = tables.iter().copied().flatten().collect();
    assert_eq!(
        rows.iter().map(|row| row.name).collect::<BTreeSet<_>>().len(),
        rows.len(),
        "a name is there twice"
    );
    for row in rows {
        assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
        assert_eq!(row.kind == Kind::Histogram, !row.buckets.is_empty(), "{}", row.name);
        assert!(row.buckets.is_sorted_by(|a, b| a < b), "{}", row.name);
        assert!(row.help.ends_with('.') && !row.help.contains('|') && !row.unit.is_empty(), "{}", row.name);
        assert!(row.unit != "seconds" || row.name.contains("seconds"), "{}", row.name);
        // The metrics library hashes the values of a series without a mark between them.
        let mut joined = vec![String::new()];
        for label in row.labels {
            if let Values::Fixed(values) = label.values {
                joined = joined
                    .iter()
                    .flat_map(|start| values.iter().map(move |v| format!("{start}{v}")))
                    .collect();
            }
        }
        assert_eq!(joined.iter().collect::<BTreeSet<_>>().len(), joined.len(), "{}", row.name);
    }
}

/// `UPDATE=1` writes the document anew.
#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let expected = table::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "docs/metrics.md is not the table's; run this test with UPDATE=1");
}

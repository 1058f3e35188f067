//! The rules that a service brings for Prometheus: each alert fires when it is to, and does not when it is not to, by Prometheus'
//! own tool.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::path::Path;
use std::process::Command;

use ampd_testkit::cluster::{binary, skipped};
use ampd_testkit::prometheus::program;
use serde_json::{Value, json};

/// Cases that end after so many minutes are looked at less often.
const LONG: u32 = 1000;
/// Of the default manifest: nine rounds of ten are to meet the objectives.
const SERVICE: &str = r#"ampd_service="default/smollm2""#;

/// The groups of the rendered `PrometheusRule`.
fn groups() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/smollm2.yaml");
    let mut render = Command::new(binary().unwrap());
    let rendered = render.args(["render", "--prometheus-operator", "--file", manifest]).output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let rule = objects.into_iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    rule["spec"]["groups"].clone()
}

/// Runs the tool of Prometheus on a file.
fn promtool(arguments: &[&str], file: &Path) -> (bool, String) {
    let tool = program().unwrap().with_file_name("promtool");
    let told = Command::new(tool).args(arguments).arg(file).output().unwrap();
    let text = [told.stdout, told.stderr].concat();
    (told.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A series of one service with a value a minute: `start+stepxcount`.
fn series(metric: &str, labels: &str, values: &str) -> Value {
    let comma = if labels.is_empty() { "" } else { "," };
    json!({"series": format!("{metric}{{{SERVICE}{comma}{labels}}}"), "values": values})
}

/// Rounds a minute by outcome, all the time.
fn rounds(attained: u32, missed: u32, turned_away: u32, failed: u32) -> Vec<Value> {
    let outcomes =
        [("attained", attained), ("missed_ttft", missed), ("turned_away", turned_away), ("failed", failed)];
    let of = |(outcome, count)| {
        let labels = format!(r#"sidecar="d",outcome="{outcome}",round="1",prefill="local""#);
        series("ampd_round_outcomes_total", &labels, &format!("0+{count}x6000"))
    };
    outcomes.map(of).to_vec()
}

/// What a service with a worker shows that is well.
fn well() -> Vec<Value> {
    let ready = series("ampd_worker_ready", r#"role="decode",worker="d""#, "1x6000");
    [rounds(100, 5, 0, 0), vec![ready]].concat()
}

fn kv(free: u32) -> Vec<Value> {
    let classes = [("total", 100), ("free", free), ("active", 20), ("leased", 5), ("cached", 25)];
    let of = |(class, blocks): (&str, u32)| {
        series("ampd_worker_kv_blocks", &format!(r#"worker="d",class="{class}""#), &format!("{blocks}x6000"))
    };
    classes.map(of).to_vec()
}

/// At `minute`, with these series, so many alerts of the name fire.
fn case(name: &str, series: &[Value], minute: u32, firing: u32) -> (u32, Value) {
    let expr = format!(r#"count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)"#);
    let case = json!({
        "name": format!("{name} at {minute}"),
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{
            "expr": expr, "eval_time": format!("{minute}m"),
            "exp_samples": [{"labels": "{}", "value": firing}],
        }],
    });
    (minute, case)
}

fn cases() -> Vec<(u32, Value)> {
    let burns = "AMPDErrorBudgetBurns";
    let with = |more: &[Value]| [well(), more.to_vec()].concat();
    // All is well for two hours, and then most rounds are late for ten minutes.
    let incident = {
        let of = |outcome: &str, values: &str| {
            let labels = format!(r#"sidecar="d",outcome="{outcome}",round="1",prefill="local""#);
            series("ampd_round_outcomes_total", &labels, values)
        };
        vec![
            of("attained", "0+100x120 12000+10x10 12100+100x600"),
            of("missed_ttft", "0x120 0+90x10 900x600"),
        ]
    };
    let mut fallbacks =
        vec![series("ampd_prefill_decisions_total", r#"target="remote",reason="x""#, "0+100x600")];
    let decided = fallbacks.clone();
    fallbacks.push(series("ampd_remote_fallbacks_total", r#"reason="frozen""#, "0+10x600"));
    let age = |seconds: &str| vec![series("ampd_signal_age_seconds", r#"sidecar="d",worker="p""#, seconds)];
    vec![
        case(burns, &well(), 6000, 0),
        // Without any rounds there is nothing to miss.
        case(burns, &rounds(0, 0, 0, 0), 600, 0),
        // Those of an hour and of six within the hour, all windows in the end.
        case(burns, &rounds(10, 90, 0, 0), 50, 2),
        case(burns, &rounds(10, 0, 90, 0), 50, 2),
        case(burns, &rounds(10, 90, 0, 0), 6000, 4),
        // Twice as many as may be: the budget of a month is spent in half of it.
        case(burns, &rounds(80, 20, 0, 0), 600, 1),
        case(burns, &incident, 130, 0),
        case(burns, &incident, 700, 0),
        case("AMPDRoundsFail", &rounds(98, 0, 0, 2), 10, 1),
        case("AMPDRoundsFail", &rounds(97, 3, 0, 0), 10, 0),
        case("AMPDRoundsTurnedAway", &rounds(90, 0, 10, 0), 20, 1),
        case("AMPDRoundsTurnedAway", &rounds(90, 10, 0, 0), 20, 0),
        case("AMPDRemotePrefillsFail", &fallbacks, 20, 1),
        case("AMPDRemotePrefillsFail", &decided, 20, 0),
        case("AMPDSignalsStale", &age("60x60"), 10, 1),
        // As old as those that a Prometheus server scraped.
        case("AMPDSignalsStale", &age("15x60"), 10, 0),
        case("AMPDWorkerNotReady", &[series("ampd_worker_ready", r#"worker="d""#, "0x60")], 20, 1),
        // A model may take a while to load.
        case("AMPDWorkerNotReady", &[series("ampd_worker_ready", r#"worker="d""#, "0x10 1x60")], 20, 0),
        case("AMPDLedgerBroken", &with(&kv(49)), 10, 1),
        case("AMPDLedgerBroken", &with(&kv(50)), 10, 0),
        case("AMPDMetricsAbsent", &[], 15, 1),
        case("AMPDMetricsAbsent", &well(), 15, 0),
    ]
}

/// The operator's alerts, of the chart.
fn of_operator() -> Vec<(u32, Value)> {
    let series = |metric: &str, labels: &str, values: &str| {
        let comma = if labels.is_empty() { "" } else { "," };
        json!({"series": format!(r#"{metric}{{namespace="NAMESPACE"{comma}{labels}}}"#), "values": values})
    };
    let reconciles = |ok: u32, failed: u32| {
        let of = |outcome: &str, count: u32| {
            let labels = format!(r#"outcome="{outcome}""#);
            series("ampd_operator_reconciles_total", &labels, &format!("0+{count}x100"))
        };
        vec![of("ok", ok), of("ApiUnavailable", failed)]
    };
    let last = |values: &str| {
        let success = series("ampd_operator_last_success_timestamp_seconds", r#"pod="a""#, values);
        [success, series("ampd_operator_objects", r#"kind="AMPDService""#, "3x100")]
    };
    let leader = |pod: &str, leads: u32| {
        series("ampd_operator_leader", &format!(r#"pod="{pod}""#), &format!("{leads}x100"))
    };
    let [fails, stands, absent] = ["AMPDOperatorFails", "AMPDOperatorStands", "AMPDOperatorAbsent"];
    vec![
        case(fails, &reconciles(10, 10), 30, 1),
        case(fails, &reconciles(10, 1), 30, 0),
        case(stands, &last("0x100"), 50, 1),
        case(stands, &last("0+60x100"), 50, 0),
        case(stands, &last("0x100")[..1], 50, 0),
        case(absent, &[leader("a", 0), leader("b", 0)], 20, 1),
        case(absent, &[], 20, 1),
        case(absent, &[leader("a", 0), leader("b", 1)], 20, 0),
    ]
}

/// Checks the rules, and that each alert fires and does not as the cases say; each has cases of both, and a runbook.
fn hold(groups: &Value, cases: Vec<(u32, Value)>) {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    std::fs::write(&rules, json!({"groups": groups}).to_string()).unwrap();
    let (fine, told) = promtool(&["check", "rules", "--lint-fatal"], &rules);
    assert!(fine, "{told}");

    let runbooks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks"));
    let rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    for alert in rules.filter(|rule| rule["alert"].is_string()) {
        let name = alert["alert"].as_str().unwrap();
        let of = |firing: bool| {
            cases.iter().any(|(_, case)| {
                let expected = &case["promql_expr_test"][0]["exp_samples"][0]["value"];
                case["name"].as_str().unwrap().starts_with(&format!("{name} ")) && (*expected != 0) == firing
            })
        };
        assert!(of(true) && of(false), "{name} has no case in which it fires, or none in which it does not");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbooks.join(url.rsplit('/').next().unwrap()).is_file(), "{url} is not there");
    }

    // What takes days is looked at less often.
    let (long, short): (Vec<_>, Vec<_>) = cases.into_iter().partition(|(minute, _)| *minute > LONG);
    for (interval, cases) in [("1m", short), ("10m", long)] {
        let tests = folder.path().join("tests.json");
        let cases: Vec<Value> = cases.into_iter().map(|(_, case)| case).collect();
        let text = json!({"rule_files": ["rules.json"], "evaluation_interval": interval, "tests": cases});
        std::fs::write(&tests, text.to_string()).unwrap();
        let (fine, told) = promtool(&["test", "rules"], &tests);
        assert!(fine, "{told}");
    }
}

#[test]
fn alerts_on_a_service_fire_when_they_are_to_and_else_do_not() {
    if program().is_none() {
        return skipped("AMPD_PROMETHEUS");
    }
    hold(&groups(), cases());
}

#[test]
fn alerts_on_the_operator_fire_when_they_are_to_and_else_do_not() {
    if program().is_none() {
        return skipped("AMPD_PROMETHEUS");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ampd/files/operator-rules.yaml");
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    hold(&rules["groups"], of_operator());
}

//! Input that cannot be is refused by name.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use crate::common::{Bench, model};
use ampd_perfmodel::{DecodePoint, Points, PrefillPoint};
use ampd_simulator::cluster::{Fault, FaultKind, Pacing, Role};
use ampd_simulator::simulate;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession, parse};
use ampd_simulator::truth::{Corrections, Truth};
use ampd_simulator::workload::{Arrivals, Draw, Workload};

const GOOD: &str = r#"{"arrival_s":0.5,"rounds":[{"new_input_tokens":10,"output_tokens":2},{"new_input_tokens":3,"output_tokens":1,"think_time_s":0.5,"history_keep":4}]}"#;

#[test]
fn a_trace_is_read() {
    let trace = parse(format!("{GOOD}\n\n{GOOD}\n").as_bytes(), 1.0).unwrap();
    assert_eq!(trace.sessions.len(), 2);
    let second = TraceRound { increment: 3, output: 1, gap_s: 0.5, keep: Some(4) };
    assert_eq!(trace.sessions[0].rounds[1], second);
    assert_eq!(trace.sessions[0].longest_context(), 12);
    let untold = GOOD.replace(r#","think_time_s":0.5"#, "");
    assert_eq!(parse(untold.as_bytes(), 7.0).unwrap().sessions[0].rounds[1].gap_s, 7.0);
}

#[test]
fn a_bad_line_is_named_with_what_is_wrong() {
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (bad, says) in [
        ("{".into(), "not the JSON of a session"),
        (with("10", "-10"), "new_input_tokens of round 1 is -10"),
        (with("10", "0"), "new_input_tokens of round 1 is 0"),
        (with("10", "1.5"), "new_input_tokens of round 1 is 1.5"),
        (with("10", "NaN"), "not the JSON of a session"),
        (with("10", "1e300"), "new_input_tokens of round 1"),
        (with("\"output_tokens\":1", "\"output_tokens\":-1"), "output_tokens of round 2 is -1"),
        (with("\"think_time_s\":0.5", "\"think_time_s\":-1"), "think_time_s of round 2 is -1"),
        (with("\"history_keep\":4", "\"history_keep\":-4"), "history_keep of round 2 is -4"),
        (with("\"arrival_s\":0.5", "\"arrival_s\":-0.5"), "arrival_s is -0.5"),
        (
            with("{\"new_input_tokens\":3", "{\"round\":1,\"new_input_tokens\":3"),
            "round 1 comes where round 2 is due",
        ),
        (r#"{"rounds":[]}"#.into(), "the session has no rounds"),
        ("{}".into(), "missing field `rounds`"),
    ] {
        let bad: String = bad;
        let error = parse(format!("{GOOD}\n{bad}\n").as_bytes(), 0.0).unwrap_err().to_string();
        assert!(error.starts_with("line 2: ") && error.contains(says), "{bad}: {error}");
    }
    assert!(parse(&[0x7b, 0xff], 0.0).unwrap_err().to_string().contains("UTF-8"));
    for empty in ["", "\n \n"] {
        assert_eq!(parse(empty.as_bytes(), 0.0).unwrap_err().to_string(), "the trace holds no session");
    }
}

#[test]
fn sessions_end_where_the_context_does() {
    let round = |increment| TraceRound { increment, output: 1, gap_s: 0.0, keep: None };
    let session = |rounds: &[u32]| TraceSession {
        arrival_s: None,
        rounds: rounds.iter().copied().map(round).collect(),
    };
    let trace = Trace { sessions: vec![session(&[9, 9, 9]), session(&[20]), session(&[19])] };
    assert_eq!(trace.cut(20).sessions, [session(&[9, 9]), session(&[19])]);
}

fn bench() -> Bench {
    let mut bench = Bench::new(model(), 1, 1);
    let round = TraceRound { increment: 100, output: 5, gap_s: 0.0, keep: None };
    bench.trace.sessions = vec![TraceSession { arrival_s: Some(0.0), rounds: vec![round; 2] }];
    bench
}

fn error(change: impl Fn(&mut Bench)) -> String {
    let mut bench = bench();
    change(&mut bench);
    simulate(&bench.setup()).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    assert!(simulate(&bench().setup()).is_ok());
    for (says, change) in [
        ("holds no session", (|b| b.trace = Trace::default()) as fn(&mut Bench)),
        ("session 1: the session reaches 210 tokens, the model's context holds 200", |b| {
            b.cluster.max_context = 200;
        }),
        ("a decode worker's KV memory holds 192", |b| b.cluster.kv_tokens = 200),
        ("session 1 of the trace has no arrival time", |b| b.trace.sessions[0].arrival_s = None),
        ("needs a decode worker", |b| b.cluster.decode_workers = 0),
        ("objective of TTFT is NaN", |b| b.slo.ttft_s = f64::NAN),
        ("objective of ITL is 0 s", |b| b.slo.itl_s = 0.0),
        ("end at 0 s", |b| b.until_s = 0.0),
        ("links.between_bytes_per_s is 0", |b| b.cluster.links.between_bytes_per_s = 0.0),
        ("engine.token_budget is 8", |b| b.cluster.engine.token_budget = 8),
        ("pacing.chunk is 0", |b| b.policies.pacing = Pacing::Fixed { chunk: 0 }),
        ("max_context is 4294967296", |b| b.cluster.max_context = 1 << 32),
        ("block_tokens is 0", |b| b.cluster.block_tokens = 0),
        ("signals.poll_s is -1", |b| b.policies.signals.poll_s = -1.0),
        ("fault 0 is of Prefill worker 3", |b| {
            let kind = FaultKind::Down;
            b.faults = vec![Fault { from_s: 0.0, until_s: 1.0, role: Role::Prefill, worker: 3, kind }];
        }),
        ("fault.slow is 0", |b| {
            let kind = FaultKind::Slow(0.0);
            b.faults = vec![Fault { from_s: 0.0, until_s: 1.0, role: Role::Decode, worker: 0, kind }];
        }),
    ] {
        let error = error(change);
        assert!(error.contains(says), "{error} does not say {says}");
    }
}

#[test]
fn workloads_that_cannot_be_drawn_are_refused() {
    for (arrivals, says) in [
        (Arrivals::Poisson { rate: 0.0 }, "the rate is 0"),
        (Arrivals::Poisson { rate: f64::NAN }, "the rate is NaN"),
        (Arrivals::Gamma { rate: 1.0, cv: 0.0 }, "variation is 0"),
        (Arrivals::Swinging { rate: 1.0, swing: 1.0, period_s: 1.0 }, "swings by 1"),
        (Arrivals::Poisson { rate: 1e30 }, "more than 50000000 sessions"),
    ] {
        let error = Workload::TOOLBENCH.generate(&arrivals, 10.0, 1).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let arrivals = Arrivals::Poisson { rate: 1.0 };
    let crossed = Workload { later: Draw::clipped(Workload::GAIA.later.shape, 9.0, 8.0), ..Workload::GAIA };
    let error = crossed.generate(&arrivals, 10.0, 1).unwrap_err().to_string();
    assert!(error.contains("from 9 to 8"), "{error}");
    let error = Workload::GAIA.generate(&arrivals, f64::INFINITY, 1).unwrap_err().to_string();
    assert!(error.contains("inf s long"), "{error}");
}

#[test]
fn points_that_give_no_truth_are_refused() {
    let prefill = |history, increment, seconds| PrefillPoint { history, increment, seconds };
    let decode = |batch, context, seconds| DecodePoint { batch, context, seconds };
    let good = Points {
        prefill: vec![prefill(0, 16, 1.0), prefill(0, 64, 2.0), prefill(512, 16, 1.0), prefill(512, 64, 2.0)],
        decode: vec![decode(1, 256, 1.0), decode(4, 256, 1.0), decode(1, 512, 1.0), decode(4, 512, 2.0)],
        transfer: vec![],
    };
    let truth = |points: &Points| Truth::from_points(points, Corrections::NONE);
    assert!(truth(&good).is_ok());
    let mut few = good.clone();
    few.decode.retain(|point| point.context == 256);
    assert!(truth(&few).unwrap_err().to_string().contains("decode needs measurements at two sizes"));
    let mut zero = good.clone();
    zero.prefill.extend([prefill(1, 16, 1.0), prefill(1, 64, 2.0)]);
    let seconds = truth(&zero).unwrap().prefill_s(16.0, 16.0 * 8.0);
    assert!(seconds.is_finite() && seconds > 0.0, "{seconds}");
    let mut nonsense = good.clone();
    nonsense.prefill[1].seconds = f64::NAN;
    assert!(truth(&nonsense).unwrap_err().to_string().contains("prefill lasts NaN s at (0, 64)"));
    let mut falling = good.clone();
    falling.decode[3].seconds = 0.5;
    assert!(truth(&falling).unwrap_err().to_string().contains("not monotone"));
    let corrections = Corrections { noise: -1.0, ..Corrections::NONE };
    assert!(Truth::from_points(&good, corrections).unwrap_err().to_string().contains("noise is -1"));
}

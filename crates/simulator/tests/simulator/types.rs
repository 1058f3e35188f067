//! Prefill workers of another type than the decode workers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_perfmodel::{PerfModel, PrefillSegment};
use ampd_simulator::report::{Place, Run};
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};
use ampd_simulator::truth::{Corrections, Truth};
use ampd_simulator::{Setup, WorkerType, simulate};

use crate::common::{Bench, model, scatter};

/// Forty sessions of two rounds, two a second.
fn bench() -> Bench {
    let round = |increment| TraceRound { increment, output: 40, gap_s: 0.3, keep: None };
    let session = |n: u64| TraceSession {
        arrival_s: Some(n as f64 / 2.0),
        rounds: vec![round(1500 + (1000.0 * scatter(n)) as u32), round(800)],
    };
    Bench { trace: Trace { sessions: (0..40).map(session).collect() }, ..Bench::new(model(), 2, 2) }
}

fn run(bench: &Bench, prefill: Option<(&PerfModel, u64)>) -> Run {
    let of = prefill.map(|(model, kv_tokens)| {
        (Truth::from_model(model.clone(), Corrections::NONE).unwrap(), model, kv_tokens)
    });
    let prefill =
        of.as_ref().map(|(truth, model, kv_tokens)| WorkerType { truth, model, kv_tokens: *kv_tokens });
    simulate(&Setup { prefill, ..bench.setup() }).unwrap()
}

fn mean_ttft_s(run: &Run) -> f64 {
    run.rounds.iter().filter_map(|round| round.ttft_s).sum::<f64>() / run.rounds.len() as f64
}

#[test]
fn the_same_type_told_twice_changes_nothing() {
    let bench = bench();
    assert_eq!(run(&bench, None), run(&bench, Some((&bench.model, bench.cluster.kv_tokens))));
}

#[test]
fn faster_prefill_workers_are_known_to_be_faster() {
    let bench = bench();
    let times = |factor: f64| {
        let segment = |s: &PrefillSegment| PrefillSegment {
            k0: s.k0 * factor,
            k1: s.k1 * factor,
            k2: s.k2 * factor,
            ..*s
        };
        PerfModel { prefill: bench.model.prefill.iter().map(segment).collect(), ..bench.model.clone() }
    };
    let remote = |run: &Run| run.rounds.iter().filter(|r| matches!(r.place, Place::Remote(_))).count();
    let [fast, same, slow] =
        [0.5, 1.0, 8.0].map(|factor| run(&bench, Some((&times(factor), bench.cluster.kv_tokens))));
    assert!(mean_ttft_s(&fast) < 0.8 * mean_ttft_s(&same), "{}", mean_ttft_s(&fast));
    assert!(remote(&slow) < remote(&same), "{} of {}", remote(&slow), remote(&same));
}

#[test]
fn prompts_that_prefill_workers_cannot_hold_stay_local() {
    let bench = bench();
    let run = run(&bench, Some((&bench.model, 1024)));
    assert!(run.rounds.iter().all(|round| round.place == Place::Local));
}

#[test]
fn prefill_workers_without_a_block_are_refused() {
    let bench = bench();
    let prefill = Some(WorkerType { truth: &bench.truth, model: &bench.model, kv_tokens: 31 });
    let error = simulate(&Setup { prefill, ..bench.setup() }).unwrap_err();
    assert_eq!(error.to_string(), "prefill.kv_tokens is 31, it must be a block at least");
}

//! Queueing theory: where a closed form exists, the simulator gives it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use crate::common::{Bench, exact_model};
use ampd_scheduler::Slo;
use ampd_simulator::cluster::{Engine, Policies, Signals};
use ampd_simulator::simulate;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};
use ampd_simulator::workload::{Arrivals, Draw, Shape, Workload};

/// Seconds of service of a prefill token.
const TOKEN_S: f64 = 1e-4;

/// The mean wait in the queue of `servers` prefill workers that serve one task at a time, with this load on each.
fn mean_wait(servers: u32, load: f64, increments: Trace, rate: f64) -> f64 {
    let mut bench = Bench::new(exact_model(TOKEN_S), servers, 1);
    bench.cluster.engine = Engine { prefill_budget: u32::MAX, prefill_tasks: 1, ..Engine::default() };
    bench.policies = Policies::always_remote();
    // The shortest queue is known exactly, as to a single queue before all servers.
    bench.policies.signals =
        Signals { probes: servers as usize, poll_s: 10.0, calibration: false, ..Signals::default() };
    bench.slo = Slo { ttft_s: 1e6, itl_s: 1e6 };
    let service: f64 =
        increments.sessions.iter().map(|session| f64::from(session.rounds[0].increment) * TOKEN_S).sum();
    let count = increments.sessions.len() as f64;
    let offered = service / count * rate / f64::from(servers);
    assert!((offered - load).abs() < 0.01, "the trace offers {offered} of {load}");
    bench.trace = increments;
    let run = simulate(&bench.setup()).unwrap();
    assert_eq!(run.rounds.len() as f64, count);
    let waits = run.rounds.iter().map(|round| round.ttft_s.unwrap() - f64::from(round.increment) * TOKEN_S);
    waits.sum::<f64>() / count
}

fn trace(rate: f64, sessions: f64, increment: impl Fn(usize) -> u32) -> Trace {
    let one = Draw::of(Shape::Fixed(1.0));
    let single = Workload {
        name: "single",
        rounds: one,
        first: one,
        later: one,
        output: one,
        gap: one,
        gap_probability: 0.0,
    };
    let mut trace = single.generate(&Arrivals::Poisson { rate }, sessions / rate, 11).unwrap();
    for (index, session) in trace.sessions.iter_mut().enumerate() {
        let round = TraceRound { increment: increment(index), output: 1, gap_s: 0.0, keep: None };
        *session = TraceSession { rounds: vec![round], ..session.clone() };
    }
    trace
}

/// Within 2 % of `expected`.
fn near(measured: f64, expected: f64) {
    assert!((measured / expected - 1.0).abs() < 0.02, "measured {measured}, expected {expected}");
}

#[test]
fn one_worker_with_equal_tasks_is_an_m_d_1_queue() {
    for load in [0.3, 0.5, 0.7] {
        let service_s = 1000.0 * TOKEN_S;
        let rate = load / service_s;
        let measured = mean_wait(1, load, trace(rate, 800_000.0, |_| 1000), rate);
        near(measured, load * service_s / (2.0 * (1.0 - load)));
    }
}

#[test]
fn workers_with_exponential_tasks_are_an_m_m_c_queue() {
    let (servers, load, mean) = (4, 0.75, 10_000.0);
    let service_s = mean * TOKEN_S;
    let rate = load * f64::from(servers) / service_s;
    // Exponential lengths by the inverse of their distribution.
    let count = 1_000_000.0;
    let lengths: Vec<u32> = (0..1_010_000)
        .map(|n| {
            let u = crate::common::scatter(n);
            ((-(1.0 - u).ln()) * mean).round().max(1.0) as u32
        })
        .collect();
    let measured = mean_wait(servers, load, trace(rate, count, |n| lengths[n]), rate);
    near(measured, erlang_c(servers, load) * service_s / (f64::from(servers) * (1.0 - load)));
}

/// The probability that all servers are busy (Erlang's second formula).
fn erlang_c(servers: u32, load: f64) -> f64 {
    let offered = load * f64::from(servers);
    let (mut term, mut sum) = (1.0, 0.0);
    for n in 0..servers {
        sum += term;
        term *= offered / f64::from(n + 1);
    }
    let waiting = term / (1.0 - load);
    waiting / (sum + waiting)
}

//! How long a decision takes: with 64 prefill workers and 10,000 sessions on 64 decode workers, and of a queue of 256.

#![allow(clippy::print_stdout, reason = "the figures are printed")]

use std::hint::black_box;
use std::time::Instant;

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_scheduler::{
    AlwaysRemote, Ampd, DecodeLoad, Decoding, LocalPrefill, Order, Paper, PrefillLoad, QueuedTask,
    RouteInput, RoutingPolicy, Slo,
};

const SAMPLES: usize = 20_000;

fn main() {
    let model = PerfModel {
        prefill: [64, 512, 4096, u64::MAX]
            .map(|max_increment| PrefillSegment { max_increment, k0: 0.005, k1: 1.3e-4, k2: 4e-9 })
            .to_vec(),
        decode: [4, 64, u64::MAX]
            .map(|max_batch| DecodeSegment { max_batch, k0: 0.007, k1: 6e-5, k2: 2e-8 })
            .to_vec(),
        transfer: Transfer { latency_s: 5e-4, bytes_per_s: 5e10, bytes_per_token: 262_144.0 },
    };
    let prefills: Vec<PrefillLoad> = (0..64_u32)
        .map(|n| PrefillLoad {
            backlog_s: f64::from(n % 7) * 0.1,
            fresh: true,
            ready: true,
            ..PrefillLoad::default()
        })
        .collect();
    // 10,000 sessions on 64 decode workers, all of them decoding, at all distances from the objective.
    let decoding: Vec<Decoding> = (0..156_u32)
        .map(|n| Decoding {
            tokens: 20 + n,
            elapsed_s: f64::from(20 + n) * 0.0002 * f64::from(60 + n % 60),
            expected: 80.0,
        })
        .collect();
    let waiting = [LocalPrefill { history: 2000, remaining: 700, age_s: 0.1 }; 3];
    let decode = DecodeLoad {
        windowed_itl_s: Some(0.018),
        running: 156,
        mean_context: 3000.0,
        queued_prefill_s: 0.2,
        step_left_s: 0.01,
    };
    let input = RouteInput {
        session: 1,
        history: 3000,
        increment: 500,
        slo: Slo { ttft_s: 1.0, itl_s: 0.02 },
        age_s: 0.02,
        decode,
        decoding: &decoding,
        waiting: &waiting,
        token_budget: 2048,
        prefills: &prefills,
        model: &model,
    };
    let policies: [&dyn RoutingPolicy; 3] = [&Ampd::default(), &Paper::default(), &AlwaysRemote];
    for policy in policies {
        measure(policy.name(), || policy.decide(black_box(&input)));
    }
    let queue: Vec<QueuedTask> = (0..256_u32)
        .map(|n| QueuedTask {
            predicted_s: 0.02 + f64::from(n % 13) * 0.01,
            deadline_s: f64::from(n % 29) * 0.05,
            postponed: 0,
        })
        .collect();
    for (name, order) in [("reorder, w = 3, of 256", Order::PAPER), ("by slack, 64 of 256", Order::SLACK)] {
        measure(name, || order.next(black_box(&queue[..order.looks_at()]), 0.0));
    }
}

fn measure<T>(name: &str, run: impl Fn() -> T) {
    let mut micros: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let started = Instant::now();
            black_box(run());
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!("{name:24} p50 {:6.2} us, p99 {:6.2} us", micros[SAMPLES / 2], micros[SAMPLES * 99 / 100]);
}

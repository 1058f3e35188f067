//! More prefill workers than one sidecar follows.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;

use ampd_scheduler::rendezvous::FOLLOWED;
use ampd_simulator::cluster::Policies;
use ampd_simulator::report::Place;
use ampd_simulator::simulate;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};

use crate::common::{Bench, model};

/// The prefill workers that get anything of 800 rounds that come at once, each of which runs remotely.
fn used(prefill_workers: u32, decode_workers: u32) -> BTreeSet<u32> {
    let round = TraceRound { increment: 1000, output: 5, gap_s: 0.0, keep: None };
    let session = |n: u32| TraceSession { arrival_s: Some(f64::from(n) / 1e3), rounds: vec![round] };
    let trace = Trace { sessions: (0..800).map(session).collect() };
    let policies = Policies::always_remote();
    let bench = Bench { policies, trace, ..Bench::new(model(), prefill_workers, decode_workers) };
    let run = simulate(&bench.setup()).unwrap();
    let place = |place: &Place| if let Place::Remote(worker) = place { Some(*worker) } else { None };
    run.rounds.iter().filter_map(|round| place(&round.place)).collect()
}

#[test]
fn a_sidecar_sends_to_those_that_it_follows_and_all_are_followed() {
    assert_eq!(used(40, 1).len(), FOLLOWED);
    assert_eq!(used(40, 5).len(), 40);
    assert_eq!(used(FOLLOWED as u32, 1).len(), FOLLOWED, "so few are all followed");
}

//! Five ways of breaking the policy, each of which must be noticed: for each there is a check that the policy passes and the
//! broken one fails.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_scheduler::{
    Ampd, Decision, DecodeLoad, MissCurve, Order, Overload, PrefillLoad, QueuedTask, Reason, RouteInput,
    RoutingPolicy, Slo, Target,
};
use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{CARDS, Cell, Split};
use ampd_simulator::workload::{Arrivals, Workload};

const LLAMA: &str = "llama-3.1-70b/h20/tp4";

/// Share of rounds within their objectives, on half of the workers for each side. Everybody is let in: what is broken is
/// not to be hidden by refusals.
fn attained(card: &str, workload: Workload, policies: &Policies, rate: f64) -> f64 {
    let card = *CARDS.iter().find(|known| known.name == card).unwrap();
    let site = Cell::new(card, workload, 32).site().unwrap();
    let split = Split { prefill: 4, decode: 4 };
    let row = site.run(policies, split, &Arrivals::Poisson { rate }, &[], 5).unwrap();
    row.summary.attainment
}

fn ours() -> Policies {
    Policies { overload: Overload::Off, ..Policies::ampd() }
}

fn routed(routing: impl RoutingPolicy + 'static) -> Policies {
    Policies { routing: Arc::new(routing), ..ours() }
}

#[test]
fn ignoring_the_itl_of_others_is_noticed() {
    let careless = Ampd { itl: MissCurve { centre: 1e9, width: 1.0 }, price: 0.0, ..Ampd::default() };
    let at = |policies| attained("qwen3-32b/h20/tp4", Workload::TOOLBENCH, &policies, 17.5);
    let (with, without) = (at(ours()), at(routed(careless)));
    assert!(with > 0.85 && without < 0.8, "with {with}, without {without}");
}

/// The dearer option instead of the cheaper one.
struct Inverted(Ampd);

impl RoutingPolicy for Inverted {
    fn name(&self) -> &'static str {
        "inverted"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let decision = self.0.decide(input);
        let target = match (decision.target, decision.remote_index) {
            (Target::Local, Some(index)) => Target::Remote(index),
            _ => Target::Local,
        };
        Decision { target, reason: Reason::CheaperLocal, ..decision }
    }
}

#[test]
fn an_inverted_comparison_is_noticed() {
    let at = |policies| attained(LLAMA, Workload::DUREADER, &policies, 1.8);
    let (right, inverted) = (at(ours()), at(routed(Inverted(Ampd::default()))));
    assert!(right > 0.95 && inverted < 0.8, "right {right}, inverted {inverted}");
}

/// Sees every signal as fresh.
struct Credulous(Ampd);

impl RoutingPolicy for Credulous {
    fn name(&self) -> &'static str {
        "credulous"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let prefills: Vec<_> =
            input.prefills.iter().map(|load| PrefillLoad { fresh: true, ..*load }).collect();
        self.0.decide(&RouteInput { prefills: &prefills, ..*input })
    }
}

#[test]
fn old_signals_taken_for_fresh_are_noticed() {
    // One worker's signal is as old as time and says that it is idle; the others' are fresh and say what is true.
    let model = model();
    let load = |backlog_s, fresh| PrefillLoad { backlog_s, fresh, ready: true, ..PrefillLoad::default() };
    let prefills = [load(0.0, false), load(0.2, true)];
    let input = RouteInput {
        session: 1,
        history: 1000,
        increment: 4000,
        slo: Slo { ttft_s: 2.0, itl_s: 0.02 },
        age_s: 0.0,
        decode: DecodeLoad { running: 40, queued_prefill_s: 3.0, ..DecodeLoad::default() },
        decoding: &[],
        waiting: &[],
        token_budget: 2048,
        prefills: &prefills,
        model: &model,
    };
    assert_eq!(Ampd::default().decide(&input).target, Target::Remote(1));
    assert_eq!(Credulous(Ampd::default()).decide(&input).target, Target::Remote(0));
}

fn model() -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.008, k1: 1.2e-4, k2: 4e-9 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.008, k1: 8e-5, k2: 2e-8 }],
        transfer: Transfer { latency_s: 1e-4, bytes_per_s: 25e9, bytes_per_token: 262_144.0 },
    }
}

/// How many are served before a long prefill that is late, in a stream of short ones that are not.
fn passed(order: Order) -> usize {
    let task = |predicted_s, deadline_s| QueuedTask { predicted_s, deadline_s, postponed: 0 };
    let (mut queue, mut now_s) = (vec![task(5.0, 1.0)], 0.0);
    for served in 0..1000 {
        while queue.len() < 4 {
            queue.push(task(0.1, now_s + 0.5));
        }
        let chosen = order.next(&queue, now_s);
        for index in chosen.postponed {
            queue[index].postponed += 1;
        }
        if chosen.order[0] == 0 && queue[0].predicted_s > 1.0 {
            return served;
        }
        now_s += queue.remove(chosen.order[0]).predicted_s;
    }
    1000
}

#[test]
fn a_dropped_cap_is_noticed() {
    let Order::Slack { cap } = Order::SLACK else { unreachable!("the policy orders by slack") };
    assert!(passed(Order::SLACK) <= cap as usize);
    assert_eq!(passed(Order::Slack { cap: u32::MAX }), 1000);
}

#[test]
fn forgotten_own_dispatches_are_noticed() {
    let mut old = ours();
    (old.signals.probes, old.signals.poll_s) = (0, 1.0);
    let mut blind = old.clone();
    blind.signals.accounting = false;
    let at = |policies| attained(LLAMA, Workload::DUREADER, &policies, 2.0);
    let (with, without) = (at(old), at(blind));
    assert!(with > 0.95 && without < with - 0.02, "with {with}, without {without}");
}

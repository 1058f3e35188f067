//! What the policies are worth, in one cell where the split is off: the evaluation's statements in small, so that a
//! change that takes them away is noticed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use ampd_scheduler::{Ampd, Binding, LlmdPrefix, MissCurve, Overload, Paper};
use ampd_simulator::cluster::{Fault, FaultKind, Pacing, Policies, Role};
use ampd_simulator::evaluate::{CARDS, Cell, Site, Split};
use ampd_simulator::report::Summary;
use ampd_simulator::workload::{Arrivals, Workload};

/// Where decoding is what is short, prefills that are sent there without a look at who decodes are dear.
#[test]
fn the_itl_of_others_counts() {
    let card = *CARDS.iter().find(|card| card.name == "qwen3-32b/h20/tp4").unwrap();
    let site = Cell::new(card, Workload::TOOLBENCH, 32).site().unwrap();
    let ours = Policies::ampd();
    let careless = Ampd { itl: MissCurve { centre: 1e9, width: 1.0 }, price: 0.0, ..Ampd::default() };
    let careless = Policies { routing: Arc::new(careless), ..ours.clone() };
    let [with, without] = [ours, careless].map(|policies| run(&site, &policies, 17.5, &[]).attainment);
    assert!(without < with - 0.1, "without {without}, with {with}");
}

/// Where steps hardly grow with their rows, all rounds are near their objective, and it matters that workers have as many.
#[test]
fn moving_sessions_is_worth_something() {
    let card = *CARDS.iter().find(|card| card.name == "mixtral-8x7b/h20/tp4").unwrap();
    let site = Cell::new(card, Workload::TOOLBENCH, 32).site().unwrap();
    let ours = Policies::ampd();
    let staying = Policies { moving: false, ..ours.clone() };
    let [with, without] = [ours, staying].map(|policies| run(&site, &policies, 15.5, &[]).attainment);
    assert!(without < with - 0.1, "without {without}, with {with}");
}

/// Long increments, on fewer prefill workers than would be best.
fn site() -> Site {
    let card = *CARDS.iter().find(|card| card.name == "llama-3.1-70b/h20/tp4").unwrap();
    Cell::new(card, Workload::DUREADER, 32).site().unwrap()
}

fn run(site: &Site, policies: &Policies, rate: f64, faults: &[Fault]) -> Summary {
    let split = Split { prefill: 4, decode: 4 };
    site.run(policies, split, &Arrivals::Poisson { rate }, faults, 5).unwrap().summary
}

#[test]
fn ours_holds_where_static_rules_collapse() {
    let site = site();
    let ours = run(&site, &Policies::ampd(), 2.0, &[]);
    assert!(ours.attainment > 0.97, "{ours:?}");
    assert!(ours.ttft_p99_s < 2.0 * site.slo.ttft_s, "{ours:?}");
    let llmd = LlmdPrefix { prompt_tokens: 0, non_cached_tokens: 256 };
    for rival in [
        Policies::always_remote(),
        Policies::plain("llmd", Arc::new(llmd)),
        Policies::paper(Paper::default()),
        Policies { binding: Binding::Load, ..Policies::paper(Paper::default()) },
    ] {
        let theirs = run(&site, &rival, 2.0, &[]);
        assert!(theirs.attainment < ours.attainment - 0.1, "{}: {theirs:?}", rival.name);
    }
}

#[test]
fn at_light_load_nothing_is_lost() {
    let ours = run(&site(), &Policies::ampd(), 0.8, &[]);
    assert!(ours.attainment > 0.99, "{ours:?}");
}

#[test]
fn each_part_of_ours_is_worth_something() {
    let (site, ours) = (site(), Policies::ampd());
    let whole = run(&site, &ours, 2.3, &[]).attainment;
    let fixed = Policies { pacing: Pacing::CHUNKED, ..ours.clone() };
    let chunked = run(&site, &fixed, 2.3, &[]).attainment;
    assert!(chunked < whole - 0.02, "without pacing {chunked}, with it {whole}");
    // Own dispatches are what is left to know a prefill worker by when signals are old and nobody is probed.
    let mut old = ours;
    (old.signals.probes, old.signals.poll_s) = (0, 1.0);
    let mut blind = old.clone();
    blind.signals.accounting = false;
    let [old, blind] = [old, blind].map(|policies| run(&site, &policies, 2.0, &[]).attainment);
    assert!(blind < old - 0.02, "without own dispatches {blind}, with them {old}");
}

#[test]
fn under_overload_those_who_are_let_in_are_served() {
    let (site, rate) = (site(), 4.0);
    let (shed, open) = (Policies::ampd(), Policies { overload: Overload::Off, ..Policies::ampd() });
    let (open, shedding) = (run(&site, &open, rate, &[]), run(&site, &shed, rate, &[]));
    assert!(shedding.attainment > open.attainment + 0.2, "{open:?} {shedding:?}");
    assert!(shedding.refused_share > 0.2, "{shedding:?}");
    let calm = run(&site, &shed, 1.0, &[]);
    assert_eq!(calm.refused_share, 0.0, "{calm:?}");
}

fn uncalibrated() -> Policies {
    let mut policies = Policies::ampd();
    policies.signals.calibration = false;
    policies
}

#[test]
fn a_slow_worker_is_found_out() {
    let site = site();
    let kind = FaultKind::Slow(2.0);
    let slow = [Fault { from_s: 0.0, until_s: 1e6, role: Role::Prefill, worker: 0, kind }];
    let summary = run(&site, &Policies::ampd(), 1.8, &slow);
    assert!(summary.attainment > 0.97, "{summary:?}");
    let trusting = run(&site, &uncalibrated(), 1.8, &slow);
    assert!(trusting.attainment < summary.attainment - 0.01, "{trusting:?}");
}

#[test]
fn a_wrong_profile_is_corrected() {
    for profile_scale in [0.6, 1.6] {
        let site = Cell { profile_scale, ..site().cell }.site().unwrap();
        let corrected = run(&site, &Policies::ampd(), 2.0, &[]);
        assert!(corrected.attainment > 0.95, "{profile_scale}: {corrected:?}");
        // One that is too fast does little harm here.
        let trusting = run(&site, &uncalibrated(), 2.0, &[]);
        assert!(profile_scale < 1.0 || trusting.attainment < 0.9, "{trusting:?}");
    }
}

//! The evaluation in small.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::cell::Cell as Counter;

use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{
    CARDS, Case, Cell, CellResult, Chosen, Family, Plan, Runs, Search, Site, Split, Tuning, goals, measure,
    one_for_all,
};
use ampd_simulator::workload::{Arrivals, Workload};

fn site() -> Site {
    let card = *CARDS.iter().find(|card| card.name == "llama-3.1-70b/h20/tp4").unwrap();
    Cell::new(card, Workload::DUREADER, 16).site().unwrap()
}

const SPLIT: Split = Split { prefill: 2, decode: 2 };

fn evaluated(plan: &Plan, made: &dyn Fn()) -> Vec<CellResult> {
    let sites: Vec<Site> = plan.cells.iter().map(|cell| cell.site().unwrap()).collect();
    let tunings: Vec<Tuning> = sites.iter().map(|site| Tuning::of(plan, site, made).unwrap()).collect();
    let chosen = one_for_all(plan, &tunings.iter().collect::<Vec<_>>());
    sites
        .iter()
        .zip(&tunings)
        .map(|(site, tuning)| measure(plan, site, tuning, &chosen, made).unwrap())
        .collect()
}

#[test]
fn an_evaluation_gives_the_same_bytes_again_and_a_row_for_each_policy_split_and_load() {
    let plan = Plan { disturbed: false, families: vec![Family::Ampd, Family::AlwaysRemote], ..Plan::quick() };
    let runs = Counter::new(0_u32);
    let results = evaluated(&plan, &|| runs.set(runs.get() + 1));
    assert_eq!(results[0].rows.len(), 2 * 2 * plan.loads.len());
    assert!(runs.get() > 10, "{}", runs.get());
    let text = |results: &[CellResult]| serde_json::to_string(results).unwrap();
    assert_eq!(text(&results), text(&evaluated(&plan, &|| {})));
    // Policies see the same sessions; a late round may arrive after the end.
    let rows = &results[0].rows;
    let [ours, theirs] = [0, plan.loads.len()].map(|row| rows[row].mean.rounds);
    assert!(ours.abs_diff(theirs) * 100 < ours, "{ours} {theirs}");
    // The one setting of a policy that has one is also its best.
    let goodput = |chosen| results[0].goodput(Family::Ampd, chosen).unwrap();
    assert_eq!(goodput(Chosen::Tuned).by_seed[0], goodput(Chosen::OneForAll).by_seed[0]);
    assert!(goodput(Chosen::Tuned).rate.mean > results[0].best_rival().unwrap().rate.mean);
    assert!(goals(&results).iter().any(|goal| goal.what.contains("best tuned rival")));
}

#[test]
fn goodput_is_the_highest_rate_that_attains() {
    let (site, policies) = (site(), Policies::ampd());
    let case = Case::plain(&policies, SPLIT);
    let mut runs = Runs::new(&site, &|| {});
    let search = Search { step: 1.05, ..Search::default() };
    let rate = search.goodput(&mut runs, &case, 0.2, 1).unwrap();
    let mut at = |rate: f64| runs.summary(&case, rate, 1).unwrap().attainment;
    assert!(at(rate / 1.05) >= 0.9 && at(rate * 1.05) < 0.9, "{rate}");
    // Wherever it is looked for from.
    let again = search.goodput(&mut runs, &case, 5.0, 1).unwrap();
    assert!((again / rate - 1.0).abs() < 0.06, "{again} {rate}");
}

#[test]
fn impossible_objectives_have_no_goodput() {
    let site = Cell { ttft_scale: 0.01, ..site().cell }.site().unwrap();
    let policies = Policies::ampd();
    let case = Case::plain(&policies, SPLIT);
    assert_eq!(Search::default().goodput(&mut Runs::new(&site, &|| {}), &case, 0.1, 1).unwrap(), 0.0);
}

#[test]
fn a_search_that_would_not_end_is_refused() {
    let (site, policies) = (site(), Policies::ampd());
    for (says, search) in [
        ("step of the search is 1", Search { step: 1.0, ..Search::default() }),
        ("attainment of the search is 0", Search { attainment: 0.0, ..Search::default() }),
    ] {
        let case = Case::plain(&policies, SPLIT);
        let error = search.goodput(&mut Runs::new(&site, &|| {}), &case, 0.1, 1).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let plan = Plan { tuning_seeds: vec![], ..Plan::quick() };
    assert!(Tuning::of(&plan, &site, &|| {}).unwrap_err().to_string().contains("tuning_seeds"));
}

#[test]
fn increments_are_scaled_where_they_are_assumed() {
    let mean = |workload: Workload| {
        let trace = workload.generate(&Arrivals::Poisson { rate: 10.0 }, 100.0, 1).unwrap();
        let later = trace.sessions.iter().flat_map(|session| &session.rounds[1..]);
        let (sum, count) = later.fold((0.0, 0.0), |(s, n), r| (s + f64::from(r.increment), n + 1.0));
        sum / count
    };
    let ratio = mean(Workload::DUREADER.with_later_scaled(2.0).unwrap()) / mean(Workload::DUREADER);
    assert!((ratio - 2.0).abs() < 0.01, "{ratio}");
    assert!(Workload::TOOLBENCH.with_later_scaled(2.0).is_err());
}

#[test]
fn more_workers_than_accelerators_are_refused() {
    let split = Split { prefill: 3, decode: 2 };
    let error = site().run(&Policies::ampd(), split, &Arrivals::Poisson { rate: 0.1 }, &[], 1).unwrap_err();
    assert!(error.to_string().contains("more than 16 accelerators"), "{error}");
}

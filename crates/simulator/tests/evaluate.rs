//! Sweeps and goodput.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{CARDS, Cell, Row, Search, Site, Split, Sweep, best_split, goodput};
use ampd_simulator::workload::{Arrivals, Workload};

fn site() -> Site {
    let card = *CARDS.iter().find(|card| card.name == "llama-3.1-70b/h20/tp4").unwrap();
    Cell::new(card, Workload::DUREADER, 16).site().unwrap()
}

const SPLIT: Split = Split { prefill: 2, decode: 2 };

#[test]
fn a_sweep_gives_a_row_for_each_combination_and_the_same_bytes_again() {
    let site = site();
    let sweep = Sweep {
        policies: vec![Policies::ampd(), Policies::always_remote()],
        splits: vec![SPLIT, Split { prefill: 0, decode: 4 }],
        arrivals: vec![Arrivals::Poisson { rate: 0.5 }, Arrivals::Gamma { rate: 0.5, cv: 3.0 }],
        seeds: vec![1, 2],
    };
    let rows = || sweep.rows(&site).collect::<Result<Vec<Row>, _>>().unwrap();
    let first = rows();
    assert_eq!((first.len(), sweep.is_empty()), (sweep.len(), false));
    assert_eq!(first.len(), 16);
    let text = |rows: &[Row]| serde_json::to_string(rows).unwrap();
    assert_eq!(text(&first), text(&rows()));
    // Without prefill workers every policy is the same but for what paces and orders.
    let local: Vec<&Row> = first.iter().filter(|row| row.split.prefill == 0).collect();
    assert!(local.iter().all(|row| row.summary.local_share == 1.0));
    // Both policies saw the same sessions.
    assert_eq!(first[0].rate, first[8].rate);
    assert_eq!(first[0].summary.rounds, first[8].summary.rounds);
}

#[test]
fn goodput_is_the_highest_rate_that_attains() {
    let site = site();
    let search = Search { seeds: vec![1], precision: 0.05, ..Search::default() };
    let rate = goodput(&site, &Policies::ampd(), SPLIT, 0.2, &search).unwrap();
    let at = |rate| {
        let row = site.run(&Policies::ampd(), SPLIT, &Arrivals::Poisson { rate }, &[], 1).unwrap();
        row.summary.attainment
    };
    assert!(at(rate) >= 0.9 && at(rate * 1.5) < 0.9, "{rate}");
    let best = best_split(&site, &Policies::ampd(), [2, 3], 0.2, &search).unwrap().unwrap();
    assert!(best.rate >= rate * 0.9, "{best:?} {rate}");
}

#[test]
fn impossible_objectives_have_no_goodput() {
    let cell = Cell { ttft_scale: 0.01, ..site().cell };
    let search = Search { seeds: vec![1], ..Search::default() };
    assert_eq!(goodput(&cell.site().unwrap(), &Policies::ampd(), SPLIT, 0.1, &search).unwrap(), 0.0);
}

#[test]
fn a_search_that_would_not_end_is_refused() {
    let site = site();
    for (says, search) in [
        ("precision of the search is 0", Search { precision: 0.0, ..Search::default() }),
        ("attainment of the search is 0", Search { attainment: 0.0, ..Search::default() }),
        ("seeds of the search is 0", Search { seeds: vec![], ..Search::default() }),
    ] {
        let error = goodput(&site, &Policies::ampd(), SPLIT, 0.1, &search).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
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

//! How fast the simulator is: simulated over real time of a deployment of 32 accelerators at eight tenths of its bound, on
//! one core, the best of a few runs. `cargo bench -p ampd-simulator -- WORDS...` runs the cells whose names contain one of
//! the words, all without any.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a table is printed, and a failed unwrap ends it"
)]

use std::time::Instant;

use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{Bound, CARDS, Cell, Site};
use ampd_simulator::workload::{Arrivals, Workload};

/// Runs of each policy in each cell.
const RUNS: u32 = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for card in CARDS {
        for workload in Workload::PAPER {
            let name = format!("{} {}", card.name, workload.name);
            if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                cell(&name, &Cell::new(card, workload, 32).site().unwrap());
            }
        }
    }
}

fn cell(name: &str, site: &Site) {
    let bound = Bound::of(site).unwrap();
    let arrivals = Arrivals::Poisson { rate: 0.8 * bound.rate };
    for policies in [Policies::ampd(), Policies::always_remote()] {
        let timed = |_| {
            let started = Instant::now();
            let row = site.run(&policies, bound.split, &arrivals, &[], 1).unwrap();
            (started.elapsed().as_secs_f64(), row)
        };
        // The machine may have other things to do: the shortest time is the one that tells what the simulator takes.
        let (seconds, row) = (0..RUNS).map(timed).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!(
            "{name:32} {:14} {:7.0} times real time, {:8.0} rounds/s",
            policies.name,
            row.simulated_s / seconds,
            row.summary.rounds as f64 / seconds,
        );
    }
}

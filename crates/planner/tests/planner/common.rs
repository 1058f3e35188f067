//! Small cells.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use ampd_planner::{Bounds, Effort, Goal, Task, WorkerProfile, WorkloadModel};
use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{Bound, CARDS, Card, Cell};
use ampd_simulator::workload::Workload;

/// The worker types whose name begins so.
pub fn cards(name: &str) -> Vec<Card> {
    CARDS.into_iter().filter(|card| card.name.starts_with(name)).collect()
}

/// A task on so many accelerators under a share of what arithmetic says that they serve, with the objectives of the
/// evaluation.
pub fn task(name: &str, workload: Workload, gpus: u32, load: f64, goal: Goal) -> Task {
    let cards = cards(name);
    let site = Cell::new(cards[0], workload, gpus).site().unwrap();
    let workers: Vec<_> = cards.iter().map(|card| WorkerProfile::of_card(card).unwrap()).collect();
    let degrees: Vec<u32> = workers.iter().map(|worker| worker.theta).collect();
    Task {
        workload: WorkloadModel::known(workload, load * Bound::of(&site).unwrap().rate).unwrap(),
        workers,
        slo: site.slo,
        target: 0.9,
        goal,
        bounds: Bounds::budget(gpus, &degrees),
        policies: Policies::ampd(),
        effort: Effort { run_rounds: 500, deciding_s: 15, seeds: 2, ..Effort::default() },
        seed: 1,
    }
}

//! How good plans are and how long they take, on one core. `cargo bench -p ampd-planner -- WORDS...` runs the cells whose
//! names contain one of the words, all without any. Where a cell has few accelerators, all deployments are simulated too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a table is printed, and a failed unwrap ends it"
)]

use std::time::Instant;

use ampd_planner::{
    Alternative, Bounds, Effort, Goal, Plan, Pool, RoleBounds, Task, WorkerProfile, WorkloadModel,
    exhaustive, plan,
};
use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{Bound, CARDS, Cell};
use ampd_simulator::workload::Workload;

/// Share of what arithmetic says that the budget serves.
const LOAD: f64 = 0.7;
/// All deployments of so many accelerators are simulated.
const SMALL: u32 = 16;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    println!(
        "cell | goal | plan | GPUs | attained | in long runs | seconds | deployments | rounds | of the best | fewest"
    );
    for gpus in [SMALL, 32, 1024] {
        for model in ["qwen3-32b/h20", "llama-3.1-70b/h20", "mixtral-8x7b/h20"] {
            for workload in Workload::PAPER {
                let name = format!("{model} {} {gpus}", workload.name);
                if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                    for goal in [Goal::MinimumGpus, Goal::BestAttainment] {
                        cell(&name, &task(model, workload, gpus, goal));
                    }
                }
            }
        }
    }
}

fn task(model: &str, workload: Workload, gpus: u32, goal: Goal) -> Task {
    let cards: Vec<_> = CARDS.into_iter().filter(|card| card.name.starts_with(model)).collect();
    let site = Cell::new(cards[0], workload, gpus).site().unwrap();
    let workers: Vec<_> = cards.iter().map(|card| WorkerProfile::of_card(card).unwrap()).collect();
    let degrees: Vec<u32> = workers.iter().map(|worker| worker.theta).collect();
    Task {
        workload: WorkloadModel::known(workload, LOAD * Bound::of(&site).unwrap().rate).unwrap(),
        workers,
        slo: site.slo,
        target: 0.9,
        goal,
        bounds: Bounds::budget(gpus, &degrees),
        policies: Policies::ampd(),
        effort: Effort::default(),
        seed: 1,
    }
}

fn cell(name: &str, task: &Task) {
    let started = Instant::now();
    let plan = plan(task).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let oracle = if task.bounds.most_gpus <= SMALL { compared(task, &plan) } else { "- | -".into() };
    let long = long(task, &plan);
    println!(
        "{name} | {:?} | {} | {} | {:.3} | {long:.3} | {seconds:.2} | {} | {} | {oracle}",
        task.goal,
        plan.deployment,
        plan.gpus,
        plan.predicted.attainment.mean,
        plan.searched.deployments,
        plan.searched.rounds,
    );
}

/// The plan's share of the best goodput of all deployments, for the fewest accelerators of those that have no more than it;
/// and how many accelerators are enough.
fn compared(task: &Task, plan: &Plan) -> String {
    let all = exhaustive(task).unwrap();
    let attained = |other: &Alternative| other.predicted.attainment.mean;
    let enough = all.iter().find(|other| attained(other) >= task.target).map(|other| other.gpus);
    let most = if task.goal == Goal::MinimumGpus { plan.gpus } else { u64::from(task.bounds.most_gpus) };
    let within = all.iter().filter(|other| other.gpus <= most);
    let best = within.map(|other| other.predicted.goodput).fold(0.0, f64::max);
    let own = all.iter().find(|other| other.deployment == plan.deployment).unwrap().predicted.goodput;
    format!("{:.3} | {}", own / best, enough.map_or("none".into(), |gpus| gpus.to_string()))
}

/// What the plan attains with other seeds, in runs that are many times as long.
fn long(task: &Task, plan: &Plan) -> f64 {
    let fixed =
        |pool: Pool| RoleBounds { least: pool.replicas, most: pool.replicas, degrees: vec![pool.degree] };
    let bounds = Bounds {
        least_gpus: 0,
        most_gpus: u32::try_from(plan.gpus).unwrap(),
        prefill: fixed(plan.deployment.prefill),
        decode: fixed(plan.deployment.decode),
    };
    let effort = Effort { deciding_s: 600, seeds: 3, ..task.effort };
    let all = exhaustive(&Task { bounds, effort, seed: 1001, ..task.clone() }).unwrap();
    all.iter().find(|other| other.deployment == plan.deployment).unwrap().predicted.attainment.mean
}

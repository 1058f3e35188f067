//! Plans beside the best of all deployments, every one of which is simulated.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_planner::{Alternative, Goal, Task, Verdict, exhaustive, plan};
use ampd_simulator::truth::{Corrections, Truth};
use ampd_simulator::workload::Workload;

use crate::common::task;

/// Worker types, workload, accelerators, load.
const CELLS: [(&str, Workload, u32, f64); 4] = [
    ("mixtral-8x7b/h20", Workload::HOTPOTQA, 16, 0.6),
    ("llama-3.1-70b/h20", Workload::DUREADER, 20, 0.7),
    ("qwen3-32b/h20", Workload::TOOLBENCH, 12, 0.6),
    ("qwen3-32b/h20/tp4", Workload::GAIA, 16, 0.6),
];
/// Share of the best goodput that plans reach at least.
const SHARE: f64 = 0.98;

fn attained(alternative: &Alternative) -> f64 {
    alternative.predicted.attainment.mean
}

fn best(all: &[Alternative]) -> &Alternative {
    all.iter().max_by(|a, b| attained(a).total_cmp(&attained(b))).unwrap()
}

#[test]
fn what_attains_most_is_found() {
    for (name, workload, gpus, load) in CELLS {
        let task = task(name, workload, gpus, load, Goal::BestAttainment);
        let (plan, all) = (plan(&task).unwrap(), exhaustive(&task).unwrap());
        let known = all.iter().find(|other| other.deployment == plan.deployment).unwrap();
        let share = known.predicted.goodput / best(&all).predicted.goodput;
        assert!(share >= SHARE, "{name} {}: {} has {share}", workload.name, plan.deployment);
    }
}

#[test]
fn the_fewest_accelerators_are_found() {
    for (name, workload, gpus, load) in CELLS {
        let task = task(name, workload, gpus, load, Goal::MinimumGpus);
        let (plan, all) = (plan(&task).unwrap(), exhaustive(&task).unwrap());
        assert_eq!(plan.verdict, Verdict::Meets, "{name}");
        let enough = all.iter().find(|other| attained(other) >= task.target).unwrap();
        assert_eq!(plan.gpus, enough.gpus, "{name} {}: {}", workload.name, enough.deployment);
        let same: Vec<Alternative> = all.into_iter().filter(|other| other.gpus == plan.gpus).collect();
        assert!(plan.predicted.goodput >= SHARE * best(&same).predicted.goodput, "{name}");
    }
}

#[test]
fn the_least_z_is_found() {
    let (name, workload, gpus, load) = CELLS[1];
    let task = task(name, workload, gpus, load, Goal::Balanced);
    let (plan, all) = (plan(&task).unwrap(), exhaustive(&task).unwrap());
    let least = all.iter().map(|other| other.predicted.z).fold(f64::INFINITY, f64::min);
    assert!(plan.predicted.z <= 1.02 * least, "{} with {}, {least}", plan.deployment, plan.predicted.z);
}

/// Plans are made on what a profile knows; what comes of them is what the machine does.
#[test]
fn a_plan_on_fitted_models_is_as_good_on_measured_times() {
    let (name, workload, gpus, load) = CELLS[1];
    let task = task(name, workload, gpus, load, Goal::BestAttainment);
    let mut fitted = Task { seed: 77, ..task.clone() };
    for worker in &mut fitted.workers {
        let noise = Corrections { noise: 0.04, ..Corrections::NONE };
        worker.truth = Truth::from_model(worker.perf.clone(), noise).unwrap();
    }
    let (plan, all) = (plan(&fitted).unwrap(), exhaustive(&task).unwrap());
    let known = all.iter().find(|other| other.deployment == plan.deployment).unwrap();
    let share = known.predicted.goodput / best(&all).predicted.goodput;
    assert!(share >= SHARE, "{} has {share}", plan.deployment);
}

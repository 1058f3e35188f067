//! Equal tasks give equal plans.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_planner::{Effort, Goal, Task, plan};
use ampd_simulator::workload::Workload;

use crate::common::task;

fn json(task: &Task) -> String {
    serde_json::to_string(&plan(task).unwrap()).unwrap()
}

#[test]
fn a_plan_is_the_same_again_and_depends_on_its_seed() {
    for goal in [Goal::MinimumGpus, Goal::BestAttainment, Goal::Balanced] {
        let task = task("mixtral-8x7b/h20", Workload::HOTPOTQA, 12, 0.5, goal);
        let text = json(&task);
        assert_eq!(text, json(&task.clone()), "{goal:?}");
        assert_ne!(text, json(&Task { seed: 2, ..task }), "{goal:?}");
    }
}

#[test]
fn the_budget_of_rounds_is_kept() {
    let whole = task("qwen3-32b/h20", Workload::HOTPOTQA, 16, 0.6, Goal::BestAttainment);
    let all = plan(&whole).unwrap().searched.rounds;
    let short = Task { effort: Effort { rounds: all / 2, ..whole.effort }, ..whole };
    let plan = plan(&short).unwrap();
    assert!(plan.searched.rounds <= all / 2 && plan.searched.runs > 0);
    assert_eq!(plan.searched.ended, ampd_planner::Ended::RoundsSpent);
}

/// Large deployments are simulated in part: what is told of them is of the whole.
#[test]
fn of_a_large_deployment_a_part_is_simulated() {
    let large = task("llama-3.1-70b/h20", Workload::DUREADER, 512, 0.6, Goal::MinimumGpus);
    let plan = plan(&large).unwrap();
    let parts = plan.searched.parts;
    assert!(parts > 1 && plan.deployment.decode.replicas.is_multiple_of(parts), "{parts}");
    let rounds = large.workload.arrivals.rate() * 4.0;
    assert!((plan.predicted.goodput / rounds - 0.95).abs() < 0.15, "{} of {rounds}", plan.predicted.goodput);
    assert!(plan.gpus > 200 && plan.gpus <= 400, "{}", plan.gpus);
}

/// What was run more often than something else is compared with it all the same, whatever came of both.
#[test]
fn every_seed_has_a_plan() {
    for seed in 1..=12 {
        let task = task("qwen3-32b/h20", Workload::TOOLBENCH, 24, 0.7, Goal::MinimumGpus);
        let effort = Effort { run_rounds: 100, deciding_s: 4, ..task.effort };
        let plan = plan(&Task { seed, effort, ..task }).unwrap();
        assert!(plan.predicted.decided && plan.predicted.attainment.mean >= 0.9, "{seed}: {plan:?}");
    }
}

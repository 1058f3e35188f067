//! What plans say of what binds, and of what cannot be.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_planner::{Bounds, Goal, Limit, Needed, Objective, RoleBounds, Task, Verdict, plan};
use ampd_scheduler::Slo;
use ampd_simulator::workload::Workload;

use crate::common::task;

fn cell(gpus: u32, load: f64, goal: Goal) -> Task {
    task("llama-3.1-70b/h20", Workload::DUREADER, gpus, load, goal)
}

#[test]
fn too_small_a_budget_says_what_would_be_needed() {
    let whole = cell(20, 0.7, Goal::MinimumGpus);
    let enough = plan(&whole).unwrap().gpus;
    let small = Task { bounds: Bounds::budget(12, &[4]), ..whole };
    let plan = plan(&small).unwrap();
    let Verdict::Infeasible { needed: Needed::Deployment { gpus, .. } } = &plan.verdict else {
        panic!("{:?}", plan.verdict)
    };
    assert_eq!(*gpus, enough);
    assert_eq!(plan.binding.limit, Some(Limit::Budget));
    assert!(plan.predicted.attainment.mean < 0.9 && plan.gpus <= 12);
    let text = plan.why.join("\n");
    let needed = format!("Needed are {enough} accelerators");
    for part in ["miss the target", "the budget of accelerators is used up", &needed] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn objectives_that_nothing_meets_are_told() {
    let task = cell(16, 0.5, Goal::MinimumGpus);
    let impossible = Task { slo: Slo { itl_s: task.slo.itl_s / 10.0, ..task.slo }, ..task };
    let plan = plan(&impossible).unwrap();
    let Verdict::Infeasible { needed: Needed::OtherObjectives { attainment, .. } } = plan.verdict else {
        panic!("{:?}", plan.verdict)
    };
    assert!(attainment < 0.5, "{attainment}");
    assert_eq!(plan.binding.objective, Objective::Itl);
    assert!(plan.why.iter().any(|sentence| sentence.contains("No number of these workers")));
}

#[test]
fn the_bound_of_a_role_binds() {
    let task = cell(40, 0.5, Goal::MinimumGpus);
    let decode = RoleBounds { most: 1, ..task.bounds.decode.clone() };
    let prefill = RoleBounds { most: 1, ..task.bounds.prefill.clone() };
    let plan = plan(&Task { bounds: Bounds { decode, prefill, ..task.bounds.clone() }, ..task }).unwrap();
    assert!(matches!(plan.verdict, Verdict::Infeasible { needed: Needed::Deployment { .. } }));
    assert_eq!(plan.binding.limit, Some(Limit::DecodeReplicas));
}

#[test]
fn at_light_load_nothing_is_gained_by_disaggregation() {
    let task = cell(32, 0.02, Goal::MinimumGpus);
    let plan = plan(&task).unwrap();
    assert!(plan.deployment.is_aggregated(), "{}", plan.deployment);
    assert_eq!((plan.gpus, &plan.verdict), (4, &Verdict::Meets));
    assert!(plan.why.iter().any(|sentence| sentence.contains("very prefill is local")), "{:?}", plan.why);
}

#[test]
fn what_a_plan_tells_adds_up() {
    let plan = plan(&cell(20, 0.7, Goal::MinimumGpus)).unwrap();
    assert_eq!(plan.gpus, plan.deployment.gpus());
    let predicted = &plan.predicted;
    let missed = predicted.misses.ttft + predicted.misses.itl + predicted.misses.refused;
    assert!((predicted.attainment.mean + missed - 1.0).abs() < 1e-9);
    assert!(plan.alternatives.iter().all(|other| other.deployment != plan.deployment));
    assert!(plan.alternatives.iter().any(|other| other.gpus < plan.gpus));
    assert!(plan.program.is_some());
}

#[test]
fn a_load_beyond_all_accelerators_says_so() {
    let task = cell(16, 0.5, Goal::MinimumGpus);
    let flood = Task { workload: task.workload.clone().times(1e5).unwrap(), ..task };
    let plan = plan(&flood).unwrap();
    let Verdict::Infeasible { needed: Needed::TooMany { gpus } } = plan.verdict else {
        panic!("{:?}", plan.verdict)
    };
    assert!(gpus > 65_536.0, "{gpus}");
}

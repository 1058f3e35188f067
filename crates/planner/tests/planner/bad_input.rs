//! Whatever it is told, a planner answers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_planner::{
    Bounds, Effort, Goal, PlanError, RoleBounds, Statistic, Statistics, Task, WorkloadModel, plan,
};
use ampd_scheduler::Slo;
use ampd_simulator::workload::Workload;
use proptest::prelude::*;

use crate::common::task;

fn good() -> Task {
    let task = task("qwen3-32b/h20", Workload::HOTPOTQA, 16, 0.5, Goal::MinimumGpus);
    Task { effort: Effort { rounds: 10_000, run_rounds: 50, deciding_s: 10, seeds: 2 }, ..task }
}

fn refused(task: &Task) -> String {
    plan(task).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_named() {
    let task = good();
    let slo = |ttft_s, itl_s| Task { slo: Slo { ttft_s, itl_s }, ..task.clone() };
    let budget = |gpus| Task { bounds: Bounds::budget(gpus, &[2, 4]), ..task.clone() };
    let role = |least, most| RoleBounds { least, most, degrees: vec![2, 4] };
    let bounds =
        |prefill, decode| Task { bounds: Bounds { prefill, decode, ..task.bounds.clone() }, ..task.clone() };
    for (task, says) in [
        (slo(f64::NAN, 0.1), "slo.ttft is NaN"),
        (slo(1.0, 0.0), "slo.itl is 0"),
        (Task { target: 1.5, ..task.clone() }, "slo.target is 1.5, it must be above 0, at most 1"),
        (budget(0), "the budget of accelerators is 0, it must be from 1 to 65536"),
        (budget(100_000), "the budget of accelerators is 100000"),
        (budget(1), "the budget is 1 accelerators; the smallest deployment that the bounds allow has 2"),
        (bounds(role(5, 4), role(1, 4)), "the number of prefill workers is from 5 to 4"),
        (bounds(role(0, 4), role(0, 0)), "the number of decode workers is from 1 to 0"),
        (
            Task { bounds: Bounds::budget(16, &[8]), ..task.clone() },
            "prefill workers may have 8 accelerators each",
        ),
        (
            Task { bounds: Bounds { least_gpus: 17, ..task.bounds.clone() }, ..task.clone() },
            "is from 17 to 16",
        ),
        (Task { workers: vec![], ..task.clone() }, "there is no profile"),
        (Task { effort: Effort { rounds: 10, ..task.effort }, ..task.clone() }, "effort.rounds is 10"),
        (Task { effort: Effort { seeds: 0, ..task.effort }, ..task.clone() }, "effort.seeds is 0"),
    ] {
        let error = refused(&task);
        assert!(error.contains(says), "{says}: {error}");
    }
    let few = Task {
        bounds: Bounds { least_gpus: 14, prefill: role(0, 1), decode: role(1, 2), ..task.bounds.clone() },
        ..task.clone()
    };
    assert!(refused(&few).contains("the largest deployment that the bounds allow has 12"));
}

#[test]
fn profiles_have_to_be_of_one_model_on_one_accelerator() {
    let task = good();
    let with = |change: &dyn Fn(&mut ampd_planner::WorkerProfile)| {
        let mut workers = task.workers.clone();
        change(&mut workers[1]);
        plan(&Task { workers, ..task.clone() }).unwrap_err()
    };
    let other = with(&|worker| worker.model = "another digest".into());
    assert!(matches!(other, PlanError::OtherModel { .. }), "{other}");
    let other = with(&|worker| worker.accelerator = "h100".into());
    assert!(matches!(other, PlanError::OtherAccelerator { .. }), "{other}");
    assert!(matches!(with(&|worker| worker.theta = 4), PlanError::TwoProfiles(4)));
}

#[test]
fn sessions_have_to_fit_a_decode_worker() {
    let mut task = good();
    for worker in &mut task.workers {
        worker.cluster.kv_tokens = 500;
    }
    assert!(
        refused(&task).contains("the KV memory of a decode worker holds 480 at most"),
        "{}",
        refused(&task)
    );
    // Where some can hold them, decode workers are those.
    task.workers[0].cluster.kv_tokens = 500_000;
    let plan = plan(&task).unwrap();
    assert_eq!(plan.deployment.decode.degree, task.workers[0].theta);
}

#[test]
fn statistics_are_checked_one_by_one() {
    let means = [4.0, 500.0, 200.0, 100.0, 0.5];
    assert!(WorkloadModel::declared(&Statistics::of_means(means), 1.0).is_ok());
    for (place, says) in
        [(0, "rounds is"), (1, "first increments is"), (2, "later"), (3, "outputs"), (4, "gaps")]
    {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            let mut means = means;
            means[place] = value;
            let error = WorkloadModel::declared(&Statistics::of_means(means), 1.0).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
    let scattered = Statistics { gap: Statistic { mean: 1.0, cv: f64::NAN }, ..Statistics::of_means(means) };
    assert!(WorkloadModel::declared(&scattered, 1.0).is_err());
    let rate = WorkloadModel::known(Workload::GAIA, f64::NAN).unwrap_err().to_string();
    assert!(rate.contains("the rate is NaN"), "{rate}");
    assert!(WorkloadModel::known(Workload::GAIA, 1.0).unwrap().times(-2.0).is_err());
}

/// Mostly a number that may be, and now and then one that hardly can.
fn mostly(good: std::ops::Range<f64>) -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1e-6, 1e3, 1e300];
    prop_oneof![8 => good, 1 => prop::sample::select(odd.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A plan or an error, and no panic; a plan keeps its bounds.
    #[test]
    fn every_task_has_an_answer(
        (ttft_s, itl_s, target) in (mostly(0.05..3.0), mostly(0.005..0.1), mostly(0.1..1.0)),
        gpus in prop_oneof![6 => 1..64_u32, 1 => prop::sample::select(vec![0_u32, 1000, 65_536, 100_000])],
        (p_least, p_most, d_least, d_most) in (0..2_u32, 0..40_u32, 0..3_u32, 1..40_u32),
        rate in mostly(0.01..30.0),
        goal in prop_oneof![Just(Goal::MinimumGpus), Just(Goal::BestAttainment), Just(Goal::Balanced)],
        degrees in prop::sample::subsequence(vec![1_u32, 2, 4], 0..=3),
    ) {
        let base = good();
        let Ok(workload) = WorkloadModel::known(Workload::HOTPOTQA, rate) else { return Ok(()) };
        let role = |least, most| RoleBounds { least, most, degrees: degrees.clone() };
        let task = Task {
            workload,
            slo: Slo { ttft_s, itl_s },
            target,
            goal,
            bounds: Bounds {
                least_gpus: 0,
                most_gpus: gpus,
                prefill: role(p_least, p_most),
                decode: role(d_least, d_most),
            },
            ..base
        };
        if let Ok(plan) = plan(&task) {
            prop_assert!(plan.gpus <= u64::from(gpus));
            let (prefill, decode) = (plan.deployment.prefill, plan.deployment.decode);
            prop_assert!(prefill.replicas >= p_least && prefill.replicas <= p_most);
            prop_assert!(decode.replicas >= d_least.max(1) && decode.replicas <= d_most);
            prop_assert!(prefill.replicas == 0 || degrees.contains(&prefill.degree));
            prop_assert!(degrees.contains(&decode.degree));
            prop_assert!((0.0..=1.0).contains(&plan.predicted.attainment.mean));
        }
    }
}

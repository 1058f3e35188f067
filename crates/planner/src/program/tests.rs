//! The program against every choice of degrees and loads.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_scheduler::Slo;
use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::CARDS;
use ampd_simulator::workload::Workload;

use super::*;
use crate::{Effort, Task, WorkerProfile, WorkloadModel};

const N: u32 = 24;

fn task(rate: f64) -> Task {
    let cards = CARDS.into_iter().filter(|card| card.name.starts_with("mixtral"));
    Task {
        workload: WorkloadModel::known(Workload::HOTPOTQA, rate).unwrap(),
        workers: cards.map(|card| WorkerProfile::of_card(&card).unwrap()).collect(),
        slo: Slo { ttft_s: 1.0, itl_s: 0.05 },
        target: 0.9,
        goal: Goal::Balanced,
        bounds: Bounds::budget(N, &[2, 4]),
        policies: Policies::ampd(),
        effort: Effort::default(),
        seed: 1,
    }
}

/// Pools of workers that serve so many sessions a second at most.
fn curves() -> Vec<Curve> {
    let curve =
        |role, degree, rate, points: &[(f64, f64)]| Curve { role, degree, rate, points: points.to_vec() };
    vec![
        curve(Role::Prefill, 2, 1.0, &[(0.5, 0.5), (0.75, 0.9), (0.95, 1.6)]),
        curve(Role::Prefill, 4, 2.1, &[(0.5, 0.3), (0.75, 0.6), (0.95, 1.3)]),
        curve(Role::Decode, 2, 1.5, &[(0.5, 0.7), (0.75, 0.8), (0.95, 1.1)]),
        curve(Role::Decode, 4, 3.2, &[(0.5, 0.4), (0.75, 0.7), (0.95, 1.0)]),
    ]
}

/// Every choice of a degree and a load for each role, with as many workers as serve the rate: the least value.
fn brute_force(rate: f64, value: impl Fn(u32, f64) -> Option<f64>) -> Option<f64> {
    let curves = curves();
    let choices = |role: Role| {
        let of = curves.iter().filter(move |curve| curve.role == role);
        of.flat_map(move |curve| LEVELS.map(|load| (curve, load))).map(move |(curve, load)| {
            let workers = (rate / (load * curve.rate) - 1e-9).ceil() as u32;
            (workers * curve.degree, curve.at(load))
        })
    };
    let mut best: Option<f64> = None;
    for (p_gpus, p_share) in choices(Role::Prefill) {
        for (d_gpus, d_share) in choices(Role::Decode) {
            let found =
                (p_gpus + d_gpus <= N).then(|| value(p_gpus + d_gpus, p_share.max(d_share))).flatten();
            best = match (best, found) {
                (Some(best), Some(found)) => Some(best.min(found)),
                (best, found) => best.or(found),
            };
        }
    }
    best
}

#[test]
fn its_answers_are_those_of_brute_force() {
    for rate in [0.5, 1.5, 2.5, 3.5, 4.5, 5.5] {
        let task = task(rate);
        let ground = Ground::of(&task).unwrap();
        let answer = |goal| solve(&ground, &curves(), goal, Degrees::One).unwrap();
        let slack = 1.0 + f64::from(GAP) + 1e-6;
        let z = brute_force(rate, |_, z| Some(z));
        let balanced = answer(Goal::Balanced);
        assert_eq!(balanced.is_some(), z.is_some(), "{rate}");
        if let (Some(answer), Some(z)) = (balanced, z) {
            assert!(answer.z <= z * slack && answer.z >= z - 1e-6, "{rate}: {answer:?}, {z}");
            assert!(answer.gpus() <= u64::from(N));
        }
        let gpus = brute_force(rate, |gpus, z| (z <= 1.0).then_some(f64::from(gpus)));
        let fewest = answer(Goal::MinimumGpus);
        assert_eq!(fewest.is_some(), gpus.is_some(), "{rate}");
        if let (Some(answer), Some(gpus)) = (fewest, gpus) {
            assert_eq!(answer.gpus() as f64, gpus, "{rate}: {answer:?}");
        }
    }
}

#[test]
fn with_several_degrees_a_role_it_is_no_worse() {
    let task = task(3.0);
    let ground = Ground::of(&task).unwrap();
    let z = |degrees| solve(&ground, &curves(), Goal::Balanced, degrees).unwrap().unwrap().z;
    assert!(z(Degrees::Mixed) <= z(Degrees::One) * (1.0 + f64::from(GAP)));
}

//! The sampler: ranges, truncation, penalties, repeatability, and log-probabilities.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::collections::{BTreeMap, BTreeSet};

use ampd_engine::sampling::{Distribution, NonFinite, Sampler, Sampling};
use proptest::prelude::*;

fn plain() -> Sampling {
    Sampling { temperature: 1.0, seed: Some(1), ..Sampling::default() }
}

/// A draw; what was left of another row does not matter.
fn sample(sampler: &mut Sampler, logits: &[f32], index: usize) -> Result<u32, NonFinite> {
    sampler.sample(logits, index, &mut vec![(7, 1.0); 5])
}

/// How often each token is drawn at the first `draws` output places.
fn counts(sampling: &Sampling, logits: &[f32], draws: usize) -> BTreeMap<u32, usize> {
    let mut sampler = Sampler::new(sampling.clone(), &[]);
    let mut counts = BTreeMap::new();
    for index in 0..draws {
        *counts.entry(sample(&mut sampler, logits, index).unwrap()).or_default() += 1;
    }
    counts
}

fn drawn(sampling: &Sampling, logits: &[f32]) -> BTreeSet<u32> {
    counts(sampling, logits, 2000).into_keys().collect()
}

/// Logits of these probabilities.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() + 3.0).collect()
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let mut sampler = Sampler::new(Sampling::default(), &[]);
    assert_eq!(sample(&mut sampler, &[1.0, 3.0, 3.0, -1.0], 0), Ok(1));
}

#[test]
fn not_finite_is_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for sampling in [Sampling::default(), plain()] {
            assert_eq!(sample(&mut Sampler::new(sampling, &[]), &[1.0, bad, 0.0], 0), Err(NonFinite));
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    let probabilities = [0.5, 0.1, 0.25, 0.15];
    let draws = 20_000;
    for temperature in [1.0, 0.5, 2.0_f32] {
        let sampling = Sampling { temperature, ..plain() };
        let counts = counts(&sampling, &logits(&probabilities), draws);
        let powers = probabilities.map(|p| f64::from(p).powf(1.0 / f64::from(temperature)));
        let total: f64 = powers.iter().sum();
        for (id, power) in powers.iter().enumerate() {
            let (got, expected) = (counts[&(id as u32)] as f64 / draws as f64, power / total);
            assert!(
                (got - expected).abs() < 0.015,
                "token {id} at {temperature}: {got} instead of {expected}"
            );
        }
    }
}

#[test]
fn truncation_keeps_the_right_tokens() {
    let logits = logits(&[0.05, 0.4, 0.3, 0.2, 0.05]);
    let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
    assert_eq!(drawn(&Sampling { top_k: 2, ..plain() }, &logits), set(&[1, 2]));
    assert_eq!(
        drawn(&Sampling { top_k: 4, ..plain() }, &logits),
        set(&[0, 1, 2, 3]),
        "lower id among equals"
    );
    assert_eq!(drawn(&Sampling { top_p: 0.65, ..plain() }, &logits), set(&[1, 2]), "0.4 + 0.3 reaches 0.65");
    assert_eq!(drawn(&Sampling { top_p: 0.75, ..plain() }, &logits), set(&[1, 2, 3]));
    assert_eq!(drawn(&Sampling { top_p: 1e-6, ..plain() }, &logits), set(&[1]), "one always stays");
    assert_eq!(drawn(&Sampling { min_p: 0.6, ..plain() }, &logits), set(&[1, 2]), "0.6 of 0.4 is 0.24");
    assert_eq!(
        drawn(&Sampling { top_k: 3, top_p: 0.7, ..plain() }, &logits),
        set(&[1, 2]),
        "0.7 / 0.9 after top_k"
    );
}

#[test]
fn penalties_and_bias() {
    let greedy = Sampling::default();
    let choose = |sampling: Sampling, prompt: &[u32], output: &[u32], logits: &[f32]| {
        let mut sampler = Sampler::new(sampling, prompt);
        for &token in output {
            sampler.push(token);
        }
        sample(&mut sampler, logits, output.len()).unwrap()
    };
    let repetition = Sampling { repetition_penalty: 2.0, ..greedy.clone() };
    assert_eq!(choose(repetition.clone(), &[0], &[], &[3.0, 2.0, 1.0]), 1, "the prompt counts");
    assert_eq!(choose(repetition.clone(), &[], &[0], &[3.0, 2.0, 1.0]), 1, "the output counts");
    assert_eq!(choose(repetition.clone(), &[0], &[0, 0], &[3.0, 1.4, 1.0]), 0, "once, however often seen");
    assert_eq!(choose(repetition, &[0], &[], &[-1.0, -1.5, -3.0]), 1, "negative logits are multiplied");

    let presence = Sampling { presence_penalty: 1.0, ..greedy.clone() };
    assert_eq!(choose(presence.clone(), &[0], &[], &[3.0, 2.5]), 0, "the prompt does not count");
    assert_eq!(choose(presence.clone(), &[], &[0], &[3.0, 2.5]), 1);
    assert_eq!(choose(presence, &[], &[0, 0, 0], &[3.0, 1.5]), 0, "once, however often seen");

    let frequency = Sampling { frequency_penalty: 0.5, ..greedy.clone() };
    assert_eq!(choose(frequency.clone(), &[], &[0], &[3.0, 2.2]), 0);
    assert_eq!(choose(frequency, &[], &[0, 0], &[3.0, 2.2]), 1);

    let bias = Sampling { logit_bias: vec![(2, 5.0), (0, -100.0)], ..greedy };
    assert_eq!(choose(bias, &[], &[], &[3.0, 2.0, 1.0]), 2);
}

#[test]
fn ranges_are_checked_and_named() {
    let good = plain();
    assert!(good.validate(10).is_ok());
    let bad: [(&str, Sampling); 10] = [
        ("temperature", Sampling { temperature: f32::NAN, ..good.clone() }),
        ("temperature", Sampling { temperature: -0.1, ..good.clone() }),
        ("top_p", Sampling { top_p: 0.0, ..good.clone() }),
        ("top_p", Sampling { top_p: 1.1, ..good.clone() }),
        ("min_p", Sampling { min_p: f32::INFINITY, ..good.clone() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..good.clone() }),
        ("presence_penalty", Sampling { presence_penalty: 2.1, ..good.clone() }),
        ("frequency_penalty", Sampling { frequency_penalty: -2.1, ..good.clone() }),
        ("logit_bias", Sampling { logit_bias: vec![(10, 1.0)], ..good.clone() }),
        ("logit_bias", Sampling { logit_bias: vec![(1, 101.0)], ..good }),
    ];
    for (field, sampling) in bad {
        assert_eq!(sampling.validate(10).unwrap_err().field, field);
    }
}

#[test]
fn unseeded_rounds_differ() {
    let logits = vec![0.0; 1000];
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let draw = || {
        let mut sampler = Sampler::new(sampling.clone(), &[]);
        (0..20).map(|index| sample(&mut sampler, &logits, index).unwrap()).collect::<Vec<u32>>()
    };
    assert_ne!(draw(), draw());
}

fn row() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-30.0_f32..30.0, 1..200)
}

proptest! {
    #[test]
    fn draw_depends_on_seed_and_place_alone(logits in row(), seed: u64, index in 0_usize..5000, others in prop::collection::vec(0_usize..5000, 0..5)) {
        let sampling = Sampling { temperature: 0.8, top_p: 0.95, seed: Some(seed), ..Sampling::default() };
        let first = sample(&mut Sampler::new(sampling.clone(), &[]), &logits, index);
        let mut sampler = Sampler::new(sampling, &[]);
        for other in others {
            sample(&mut sampler, &logits, other).unwrap();
        }
        prop_assert_eq!(sample(&mut sampler, &logits, index), first);
    }

    #[test]
    fn any_parameters_draw_a_token(
        logits in row(), temperature in 0.0_f32..100.0, top_k in 0_u32..300, top_p in 1e-9_f32..=1.0, min_p in 0.0_f32..=1.0, seed: u64,
    ) {
        let sampling = Sampling { temperature, top_p, top_k, min_p, seed: Some(seed), ..Sampling::default() };
        sampling.validate(logits.len()).unwrap();
        let id = sample(&mut Sampler::new(sampling, &[]), &logits, 3).unwrap();
        prop_assert!((id as usize) < logits.len());
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if top_k == 1 || min_p >= 1.0 || temperature < 1e-5 {
            prop_assert_eq!(logits[id as usize].to_bits(), highest.to_bits());
        }
    }

    #[test]
    fn nucleus_agrees_with_a_full_sort(logits in row(), top_p in 0.01_f32..1.0) {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weights: Vec<f64> = logits.iter().map(|logit| f64::from((logit - highest).exp())).collect();
        weights.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let kept = weights.iter().take_while(|weight| { let more = sum < f64::from(top_p) * total; sum += *weight; more }).count();
        let floor = weights[kept - 1];
        let sampling = Sampling { top_p, ..plain() };
        let mut sampler = Sampler::new(sampling, &[]);
        for index in 0..50 {
            let id = sample(&mut sampler, &logits, index).unwrap();
            prop_assert!(f64::from((logits[id as usize] - highest).exp()) >= floor * (1.0 - 1e-9));
        }
    }

    #[test]
    fn logprobs_are_a_distribution(logits in row(), count in 0_usize..30) {
        let distribution = Distribution::new(&logits);
        let total: f64 = (0..logits.len() as u32).map(|id| f64::from(distribution.logprob(id)).exp()).sum();
        prop_assert!((total - 1.0).abs() < 1e-4);
        let top = distribution.top(count);
        prop_assert_eq!(top.len(), count.min(logits.len()));
        prop_assert!(top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        if let Some(&(_, least)) = top.last() {
            let above = (0..logits.len() as u32).filter(|&id| distribution.logprob(id) > least).count();
            prop_assert!(above < count);
        }
    }
}

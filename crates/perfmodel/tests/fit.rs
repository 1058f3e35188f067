//! Fits against points measured on an H100 (Qwen3-32B, parallel degree 4) and against planted coefficients.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_perfmodel::{
    DecodePoint, FORMAT_VERSION, FitError, Points, PrefillPoint, Profile, ProfileError, Residual,
    TransferPoint, fit,
};
use proptest::prelude::*;

fn transfers() -> Vec<TransferPoint> {
    [64, 1024, 8192]
        .map(|tokens| TransferPoint { tokens, seconds: 1e-4 + tokens as f64 * 2.6e5 / 5e10 })
        .to_vec()
}

fn measured() -> Points {
    let mut points = Points { transfer: transfers(), ..Points::default() };
    for line in include_str!("data/h100_qwen3_32b_tp4.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (a, b) = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
        let seconds = fields[3].parse::<f64>().unwrap() / 1e3;
        match fields[0] {
            "prefill" => points.prefill.push(PrefillPoint { history: a, increment: b, seconds }),
            _ => points.decode.push(DecodePoint { batch: a, context: b, seconds }),
        }
    }
    points
}

#[test]
fn held_out_points_are_predicted_within_a_few_per_cent() {
    let all = measured();
    let (train, held): (Vec<_>, Vec<_>) = all.prefill.iter().enumerate().partition(|(n, _)| n % 4 != 0);
    let (train_d, held_d): (Vec<_>, Vec<_>) = all.decode.iter().enumerate().partition(|(n, _)| n % 4 != 0);
    let points = Points {
        prefill: train.into_iter().map(|(_, p)| *p).collect(),
        decode: train_d.into_iter().map(|(_, p)| *p).collect(),
        transfer: transfers(),
    };
    let (model, residuals) = fit(&points, 262_144.0).unwrap();
    let prefill = Residual::of(
        held.iter().map(|(_, p)| (model.prefill_s(p.history as f64, p.increment as f64), p.seconds)),
    );
    let decode = Residual::of(
        held_d.iter().map(|(_, p)| (model.decode_s(p.batch as f64, p.context as f64), p.seconds)),
    );
    assert!(prefill.mape < 0.04, "{prefill:?}");
    assert!(decode.mape < 0.05, "{decode:?}");
    assert!(residuals.prefill.mape < 0.04 && residuals.decode.mape < 0.05, "{residuals:?}");
}

#[test]
fn missing_and_impossible_points_are_named() {
    let mut points = measured();
    points.decode.clear();
    assert_eq!(fit(&points, 1.0).unwrap_err(), FitError::TooFewPoints { kind: "decode", needed: 2, got: 0 });
    let mut points = measured();
    points.prefill[1].seconds = f64::NAN;
    assert!(matches!(fit(&points, 1.0), Err(FitError::BadPoint { kind: "prefill", index: 1, .. })));
    assert!(matches!(fit(&measured(), 0.0), Err(FitError::BytesPerToken(_))));
}

fn profile() -> Profile {
    let points = measured();
    let (perf, residuals) = fit(&points, 262_144.0).unwrap();
    Profile {
        format: FORMAT_VERSION,
        model: "m".into(),
        model_digest: "00".into(),
        hardware: "h".into(),
        backend: "cpu".into(),
        threads: 2,
        theta: 1,
        created: "2026-01-01T00:00:00Z".into(),
        perf,
        residuals,
        points,
    }
}

#[test]
fn profiles_survive_json() {
    let profile = profile();
    assert_eq!(Profile::from_json(&profile.to_json().unwrap()).unwrap(), profile);
}

#[test]
fn bad_profiles_are_refused_by_field() {
    let good = profile().to_json().unwrap();
    let other = good.replace("\"format\": 1", "\"format\": 2");
    assert!(matches!(Profile::from_json(&other), Err(ProfileError::Format { got: 2 })));
    assert!(matches!(Profile::from_json("{\"format\": 1}"), Err(ProfileError::Json(_))));
    assert!(matches!(Profile::from_json("nonsense"), Err(ProfileError::Json(_))));
    let mut negative = profile();
    negative.perf.decode[0].k1 = -1.0;
    let error = Profile::from_json(&negative.to_json().unwrap()).unwrap_err();
    assert!(error.to_string().contains("perf.decode[0]"), "{error}");
    let mut empty = profile();
    empty.perf.prefill.clear();
    let error = Profile::from_json(&empty.to_json().unwrap()).unwrap_err();
    assert!(error.to_string().contains("perf.prefill"), "{error}");
}

proptest! {
    #[test]
    fn planted_coefficients_come_back(k0 in 1e-3..1e-1f64, k1 in 1e-5..1e-3f64, k2 in 1e-9..1e-7f64) {
        let truth = |h: f64, i: f64| k0 + k1 * i + k2 * i * (h + i / 2.0);
        let mut points = Points { transfer: transfers(), ..Points::default() };
        for history in [0, 500, 2000, 8000] {
            for increment in [16, 48, 128, 400, 1000, 3000] {
                let seconds = truth(history as f64, increment as f64);
                points.prefill.push(PrefillPoint { history, increment, seconds });
            }
        }
        for batch in [1, 2, 4, 8, 32] {
            points.decode.push(DecodePoint { batch, context: 100, seconds: k0 + k1 * batch as f64 });
        }
        let (model, residuals) = fit(&points, 1e4).unwrap();
        prop_assert!(residuals.prefill.max < 1e-3, "{residuals:?}");
        for (h, i) in [(100.0, 20.0), (1000.0, 300.0), (4000.0, 2000.0)] {
            prop_assert!((model.prefill_s(h, i) / truth(h, i) - 1.0).abs() < 2e-3);
        }
    }

    #[test]
    fn predictions_are_finite_and_grow_with_the_increment(h in 0.0..1e5f64, i in 1.0..12_000.0f64) {
        let (model, _) = fit(&measured(), 262_144.0).unwrap();
        let (shorter, longer) = (model.prefill_s(h, i), model.prefill_s(h, i + 1.0));
        prop_assert!(shorter.is_finite() && shorter >= 0.0 && grown(shorter, longer));
    }

    #[test]
    fn predictions_grow_over_every_border(h in 0.0..1e5f64, c in 1.0..1e5f64) {
        let (model, _) = fit(&measured(), 262_144.0).unwrap();
        let inner = |border: &u64| *border < u64::MAX;
        for border in model.prefill.iter().map(|segment| segment.max_increment).filter(inner) {
            let border = border as f64;
            prop_assert!(grown(model.prefill_s(h, border), model.prefill_s(h, border + 1.0)), "{border}");
        }
        for border in model.decode.iter().map(|segment| segment.max_batch).filter(inner) {
            let border = border as f64;
            prop_assert!(grown(model.decode_s(border, c), model.decode_s(border + 1.0, c)), "{border}");
        }
    }
}

/// Whether the second is not below the first, but for rounding.
fn grown(first: f64, second: f64) -> bool {
    second >= first * (1.0 - 1e-12)
}

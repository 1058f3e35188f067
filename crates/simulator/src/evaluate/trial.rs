//! Disturbances: wrong splits, overload, uneven load, and what schedulers know wrongly.

use std::fmt;

use serde::Serialize;

use super::measure::{CellResult, Chosen, Contender};
use super::recovery::recovery_s;
use super::{Case, Cell, EvaluateError, Family, Interval, Plan, Runs, Split};
use crate::cluster::{Fault, FaultKind, Policies, Role};
use crate::workload::Arrivals;

/// What is disturbed, and what is measured then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Goodput with so many prefill workers more than at the best split, and as many decode workers less.
    SplitOff(i32),
    /// Attainment at so many times our own goodput.
    Overload(f64),
    /// Seconds from the end of an overload until nine tenths of the rounds meet their objectives again.
    Recovery,
    /// Goodput when the rate swings by 40 % every 15 s.
    Swinging,
    /// Goodput when sessions come in bursts: gamma arrivals with a coefficient of variation of 3.
    Bursts,
    /// Goodput when loads are read so many seconds apart and nobody is probed.
    Signals(f64),
    /// Goodput when the performance model's times are wrong by this factor.
    Profile(f64),
    /// Goodput when a worker of this role takes twice as long as it should.
    Slow(Role),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SplitOff(by) => write!(f, "{by:+} prefill workers"),
            Self::Overload(factor) => write!(f, "{factor} times capacity"),
            Self::Recovery => write!(f, "after an overload"),
            Self::Swinging => write!(f, "load swinging by 40 %"),
            Self::Bursts => write!(f, "bursts, CV 3"),
            Self::Signals(age_s) => write!(f, "signals every {age_s} s, no probes"),
            Self::Profile(scale) => write!(f, "profile times {scale}"),
            Self::Slow(Role::Prefill) => write!(f, "one prefill worker at half speed"),
            Self::Slow(Role::Decode) => write!(f, "one decode worker at half speed"),
        }
    }
}

/// One disturbance under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// What is disturbed.
    pub what: Disturbance,
    /// The policy.
    pub policy: Family,
    /// Its setting.
    pub setting: String,
    /// The split.
    pub split: Split,
    /// What was measured, by seed: sessions a second, a share of rounds, or seconds.
    pub by_seed: Vec<f64>,
    /// Their mean.
    pub value: Interval,
}

/// Factors of overload.
pub const OVERLOADS: [f64; 2] = [1.25, 1.6];
/// Seconds between readings of old signals.
pub const OLD_SIGNALS_S: [f64; 2] = [1.0, 5.0];
/// Factors by which profiles are wrong.
pub const WRONG_PROFILES: [f64; 2] = [0.6, 1.6];

/// Runs the disturbances of a cell.
pub(super) fn trials(
    plan: &Plan,
    runs: &mut Runs<'_>,
    tuned: &[&Contender<'_>],
    result: &CellResult,
) -> Result<Vec<Trial>, EvaluateError> {
    let find = |family: Family| tuned.iter().find(|contender| contender.setting.family == family);
    let rival = result.best_rival().and_then(|rival| find(rival.policy));
    let mut trials = Vec::new();
    for contender in find(Family::Ampd).into_iter().chain(rival) {
        splits_off(plan, runs, contender, &mut trials)?;
        for (what, arrivals) in [
            (Disturbance::Swinging, Arrivals::Swinging { rate: 1.0, swing: 0.4, period_s: 30.0 }),
            (Disturbance::Bursts, Arrivals::Gamma { rate: 1.0, cv: 3.0 }),
        ] {
            let case = Case { arrivals, ..Case::plain(&contender.setting.policies, contender.split) };
            trials.push(goodputs(plan, runs, what, contender, &case)?);
        }
    }
    let capacity = result.goodput(Family::Ampd, Chosen::Tuned).map_or(0.0, |goodput| goodput.rate.mean);
    if capacity > 0.0 {
        for contender in [find(Family::Ampd), find(Family::AmpdOpen), rival].into_iter().flatten() {
            overloads(plan, runs, contender, capacity, &mut trials)?;
        }
    }
    if let Some(contender) = find(Family::Ampd) {
        disturbed_knowledge(plan, runs, contender, &mut trials)?;
    }
    Ok(trials)
}

fn trial(what: Disturbance, contender: &Contender<'_>, split: Split, by_seed: Vec<f64>) -> Trial {
    let (policy, setting) = (contender.setting.family, contender.setting.policies.name.clone());
    Trial { what, policy, setting, split, value: Interval::of(&by_seed), by_seed }
}

fn goodputs(
    plan: &Plan,
    runs: &mut Runs<'_>,
    what: Disturbance,
    contender: &Contender<'_>,
    case: &Case<'_>,
) -> Result<Trial, EvaluateError> {
    let by_seed = plan.search.goodputs(runs, case, 0.9 * contender.guess, plan.few_seeds())?;
    Ok(trial(what, contender, case.split, by_seed))
}

fn splits_off(
    plan: &Plan,
    runs: &mut Runs<'_>,
    contender: &Contender<'_>,
    trials: &mut Vec<Trial>,
) -> Result<(), EvaluateError> {
    for by in [-2_i32, -1, 1, 2] {
        // Of a rival only what two workers off leave is asked.
        if contender.setting.family.is_rival() && by.abs() == 1 {
            continue;
        }
        let Some(prefill) = contender.split.prefill.checked_add_signed(by) else { continue };
        let Some(decode) = contender.split.decode.checked_add_signed(-by) else { continue };
        // Nobody plans for prefill workers and has none, or has no decode worker.
        if prefill == 0 || decode == 0 || contender.split.prefill == 0 {
            continue;
        }
        let case = Case::plain(&contender.setting.policies, Split { prefill, decode });
        trials.push(goodputs(plan, runs, Disturbance::SplitOff(by), contender, &case)?);
    }
    Ok(())
}

fn overloads(
    plan: &Plan,
    runs: &mut Runs<'_>,
    contender: &Contender<'_>,
    capacity: f64,
    trials: &mut Vec<Trial>,
) -> Result<(), EvaluateError> {
    let case = Case::plain(&contender.setting.policies, contender.split);
    for factor in OVERLOADS {
        let attained = |seed: &u64| Ok(runs.summary(&case, factor * capacity, *seed)?.attainment);
        let by_seed = plan.few_seeds().iter().map(attained).collect::<Result<_, EvaluateError>>()?;
        trials.push(trial(Disturbance::Overload(factor), contender, contender.split, by_seed));
    }
    let seconds = |seed: &u64| recovery_s(runs, &case, capacity, *seed);
    let by_seed = plan.few_seeds().iter().map(seconds).collect::<Result<_, _>>()?;
    trials.push(trial(Disturbance::Recovery, contender, contender.split, by_seed));
    Ok(())
}

/// What the scheduler knows is old or wrong, or a worker is not what it was measured to be.
fn disturbed_knowledge(
    plan: &Plan,
    runs: &mut Runs<'_>,
    contender: &Contender<'_>,
    trials: &mut Vec<Trial>,
) -> Result<(), EvaluateError> {
    let (ours, split) = (&contender.setting.policies, contender.split);
    for age_s in OLD_SIGNALS_S {
        let policies = old_signals(ours, age_s);
        let case = Case::plain(&policies, split);
        trials.push(goodputs(plan, runs, Disturbance::Signals(age_s), contender, &case)?);
    }
    for profile_scale in WRONG_PROFILES {
        let site = Cell { profile_scale, ..runs.site.cell.clone() }.site()?;
        let mut runs = runs.elsewhere(&site);
        let what = Disturbance::Profile(profile_scale);
        trials.push(goodputs(plan, &mut runs, what, contender, &Case::plain(ours, split))?);
    }
    for role in [Role::Prefill, Role::Decode] {
        if role == Role::Prefill && split.prefill == 0 {
            continue;
        }
        let kind = FaultKind::Slow(2.0);
        let faults = [Fault { from_s: 0.0, until_s: 1e9, role, worker: 0, kind }];
        let case = Case { faults: &faults, ..Case::plain(ours, split) };
        trials.push(goodputs(plan, runs, Disturbance::Slow(role), contender, &case)?);
    }
    Ok(())
}

/// The same policy with loads that are read so many seconds apart, and without probes.
pub(super) fn old_signals(policies: &Policies, poll_s: f64) -> Policies {
    let mut old = policies.clone();
    (old.signals.poll_s, old.signals.probes) = (poll_s, 0);
    old.name = format!("{}, signals every {poll_s} s, no probes", policies.name);
    old
}

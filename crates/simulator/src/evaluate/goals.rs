//! What was to be reached, and what was.

use serde::Serialize;

use super::measure::{CellResult, Chosen};
use super::trial::{OLD_SIGNALS_S, OVERLOADS, WRONG_PROFILES};
use super::{Disturbance, Family, Interval, Trial, mean_by_seed};
use crate::cluster::Role;

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Reached, and so is it at the worse end of the interval.
    Met,
    /// Reached by the mean, not by the worse end of the interval.
    WithinInterval,
    /// Not reached.
    Missed,
}

/// A goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// Its group, a to f.
    pub group: char,
    /// What is to be reached.
    pub what: String,
    /// The value to be reached.
    pub target: f64,
    /// Whether it is a lower bound; else it is an upper one.
    pub at_least: bool,
    /// What was reached: the mean over the cells, with the interval over the seeds.
    pub value: Interval,
    /// In the worst cell.
    pub worst: f64,
    /// Which one that is.
    pub worst_cell: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// A ratio counts as this at most: a rival that serves nothing would make any mean infinite.
const MOST_RATIO: f64 = 10.0;

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    let ratio = |(a, b): (&f64, &f64)| if *b > 0.0 { (a / b).min(MOST_RATIO) } else { MOST_RATIO };
    ours.iter().zip(theirs).map(ratio).collect()
}

/// A goal's values: of each cell that has any, by seed.
struct Values(Vec<(String, Vec<f64>)>);

impl Values {
    /// Of all cells for which `value` gives any.
    fn of(cells: &[CellResult], value: impl Fn(&CellResult) -> Option<Vec<f64>>) -> Self {
        let named = |cell: &CellResult| Some((format!("{} {}", cell.model, cell.workload), value(cell)?));
        Self(cells.iter().filter_map(named).collect())
    }

    fn goal(self, group: char, what: String, at_least: bool, target: f64) -> Option<Goal> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let by_cell = || self.0.iter().map(|(name, values)| (name, mean(values)));
        let sign = if at_least { 1.0 } else { -1.0 };
        let (worst_cell, worst) = by_cell().min_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)))?;
        let worst_cell = worst_cell.clone();
        let value =
            Interval::of(&mean_by_seed(&self.0.into_iter().map(|(_, values)| values).collect::<Vec<_>>()));
        let reached = |value: f64| sign * value >= sign * target;
        let verdict = match (reached(value.mean), reached(value.mean - sign * value.half_width)) {
            (true, true) => Verdict::Met,
            (true, false) => Verdict::WithinInterval,
            (false, _) => Verdict::Missed,
        };
        Some(Goal { group, what, target, at_least, value, worst, worst_cell, verdict })
    }
}

fn by_seed(cell: &CellResult, policy: Family, chosen: Chosen) -> Option<&[f64]> {
    Some(&cell.goodput(policy, chosen)?.by_seed)
}

fn trial<'a>(cell: &'a CellResult, what: &Disturbance, rival: bool) -> Option<&'a Trial> {
    let best = cell.best_rival().map(|rival| rival.policy);
    let wanted =
        |trial: &Trial| if rival { Some(trial.policy) == best } else { trial.policy == Family::Ampd };
    cell.trials.iter().find(|trial| trial.what == *what && wanted(trial))
}

/// What was to be reached in all cells together, in the order of the groups. Goals that no cell says anything of are left
/// out.
#[must_use]
pub fn goals(cells: &[CellResult]) -> Vec<Goal> {
    let parts = [
        own_splits(cells),
        one_setting(cells),
        wrong_splits(cells),
        overload(cells),
        uneven(cells),
        wrong(cells),
    ];
    parts.into_iter().flatten().flatten().collect()
}

fn own_splits(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let mut goals = Vec::new();
    for (policy, how) in [(Family::Ampd, ""), (Family::AmpdOpen, ", every session let in")] {
        let over_rival = || {
            Values::of(cells, |cell| {
                let rival = cell.best_rival()?;
                Some(ratios(by_seed(cell, policy, Chosen::Tuned)?, &rival.by_seed))
            })
        };
        let least = over_rival().goal('a', format!("in no cell below{how}"), true, 0.98).map(|goal| {
            let verdict = if goal.worst >= goal.target { Verdict::Met } else { Verdict::Missed };
            Goal { value: Interval { mean: goal.worst, half_width: f64::INFINITY }, verdict, ..goal }
        });
        let of_bound = Values::of(cells, |cell| {
            let rates = by_seed(cell, policy, Chosen::Tuned)?;
            Some(rates.iter().map(|rate| rate / cell.bound.rate).collect())
        });
        goals.push(over_rival().goal('a', format!("goodput over the best tuned rival's{how}"), true, 1.1));
        goals.push(least);
        goals.push(of_bound.goal('a', format!("share of the bound{how}"), true, 0.92));
    }
    goals
}

fn one_setting(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let over = |policy: Family, chosen: Chosen| {
        Values::of(cells, |cell| {
            Some(ratios(by_seed(cell, Family::Ampd, Chosen::Tuned)?, by_seed(cell, policy, chosen)?))
        })
    };
    let rivals = || Family::ALL.into_iter().filter(|family| family.is_rival());
    let against = |family: Family| {
        over(family, Chosen::OneForAll).goal(
            'b',
            format!("goodput over {} with one setting", family.name()),
            true,
            1.15,
        )
    };
    // The best of them is the one over which ours gains least.
    let mut one = rivals().filter_map(against).collect::<Vec<_>>();
    one.sort_by(|a, b| a.value.mean.total_cmp(&b.value.mean));
    one.truncate(1);
    let shipped = rivals().map(|family| {
        over(family, Chosen::Shipped).goal(
            'b',
            format!("goodput over {} as shipped", family.name()),
            true,
            1.5,
        )
    });
    one.into_iter().map(Some).chain(shipped).collect()
}

fn wrong_splits(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let off = |by: i32| {
        Values::of(cells, |cell| {
            let best = by_seed(cell, Family::Ampd, Chosen::Tuned)?;
            let ours = [-by, by].map(|by| trial(cell, &Disturbance::SplitOff(by), false));
            let shares = ours.into_iter().flatten().map(|trial| ratios(&trial.by_seed, best));
            mean_of(&shares.collect::<Vec<_>>())
        })
    };
    let over_rival = Values::of(cells, |cell| {
        let both = [-2, 2].map(|by| {
            let what = Disturbance::SplitOff(by);
            Some(ratios(&trial(cell, &what, false)?.by_seed, &trial(cell, &what, true)?.by_seed))
        });
        mean_of(&both.into_iter().flatten().collect::<Vec<_>>())
    });
    vec![
        off(1).goal('c', "goodput one worker off, of the best split's".into(), true, 0.9),
        off(2).goal('c', "goodput two workers off, of the best split's".into(), true, 0.8),
        over_rival.goal('c', "goodput two workers off, over the tuned rival's two off".into(), true, 1.3),
    ]
}

/// The mean of several, seed by seed; `None` without any.
fn mean_of(values: &[Vec<f64>]) -> Option<Vec<f64>> {
    (!values.is_empty()).then(|| mean_by_seed(values))
}

fn overload(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let of = |what: Disturbance| Values::of(cells, |cell| Some(trial(cell, &what, false)?.by_seed.clone()));
    let attained = |factor: f64, target: f64| {
        let what = Disturbance::Overload(factor);
        of(what).goal('d', format!("attainment at {what}"), true, target)
    };
    vec![
        attained(OVERLOADS[0], 0.68),
        attained(OVERLOADS[1], 0.5),
        of(Disturbance::Recovery).goal('d', "seconds to recover".into(), false, 10.0),
    ]
}

fn uneven(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let over = |what: Disturbance| {
        let values = Values::of(cells, |cell| {
            Some(ratios(&trial(cell, &what, false)?.by_seed, &trial(cell, &what, true)?.by_seed))
        });
        values.goal('e', format!("goodput over the tuned rival's, {what}"), true, 1.1)
    };
    vec![over(Disturbance::Swinging), over(Disturbance::Bursts)]
}

fn wrong(cells: &[CellResult]) -> Vec<Option<Goal>> {
    let whats = OLD_SIGNALS_S.map(Disturbance::Signals).into_iter();
    let whats = whats.chain(WRONG_PROFILES.map(Disturbance::Profile));
    let whats = whats.chain([Role::Prefill, Role::Decode].map(Disturbance::Slow));
    let of = |what: Disturbance| {
        let values = Values::of(cells, |cell| {
            Some(ratios(&trial(cell, &what, false)?.by_seed, by_seed(cell, Family::Ampd, Chosen::Tuned)?))
        });
        values.goal('f', format!("goodput of the undisturbed, {what}"), true, 0.9)
    };
    whats.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(cells: &[&[f64]]) -> Values {
        Values(cells.iter().enumerate().map(|(n, values)| (format!("cell {n}"), values.to_vec())).collect())
    }

    #[test]
    fn a_goal_is_met_beyond_its_interval_or_only_by_its_mean_or_not() {
        let verdict =
            |cells: &[&[f64]], target| values(cells).goal('a', String::new(), true, target).unwrap().verdict;
        assert_eq!(verdict(&[&[1.2, 1.2], &[1.0, 1.0]], 1.1), Verdict::Met);
        assert_eq!(verdict(&[&[1.3, 1.1], &[1.0, 1.0]], 1.1), Verdict::WithinInterval);
        assert_eq!(verdict(&[&[1.2, 1.2], &[0.9, 1.0]], 1.1), Verdict::Missed);
        let most = values(&[&[3.0, 3.0], &[5.0, 5.0]]).goal('d', String::new(), false, 4.5).unwrap();
        assert_eq!((most.verdict, most.worst, most.worst_cell.as_str()), (Verdict::Met, 5.0, "cell 1"));
        assert_eq!(values(&[&[9.0]]).goal('d', String::new(), false, 4.5).unwrap().verdict, Verdict::Missed);
        assert!(values(&[]).goal('a', String::new(), true, 1.0).is_none());
    }

    #[test]
    fn a_rival_that_serves_nothing_does_not_make_a_mean_infinite() {
        assert_eq!(ratios(&[3.0, 3.0, 3.0], &[2.0, 0.0, 0.01]), [1.5, MOST_RATIO, MOST_RATIO]);
    }
}

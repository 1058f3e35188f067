//! Goodput: the highest rate at which enough rounds meet their objectives.

use super::{EvaluateError, Site, Split};
use crate::cluster::Policies;
use crate::workload::Arrivals;

/// With fewer sessions than so many, a run says nothing.
const SESSIONS: f64 = 20.0;

/// How a goodput is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Share of rounds that must meet their objectives, mean over the seeds.
    pub attainment: f64,
    /// p99 of TTFT that is still no starvation, in objectives.
    pub p99_objectives: f64,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Relative width of the interval at which the search ends.
    pub precision: f64,
}

impl Search {
    fn check(&self) -> Result<(), EvaluateError> {
        for (field, value, good, wanted) in [
            (
                "attainment",
                self.attainment,
                self.attainment > 0.0 && self.attainment <= 1.0,
                "above 0, at most 1",
            ),
            ("precision", self.precision, self.precision >= 1e-6 && self.precision < 1.0, "from 1e-6 to 1"),
            ("seeds", self.seeds.len() as f64, !self.seeds.is_empty(), "one at least"),
        ] {
            if !good {
                return Err(EvaluateError::Search { field, value, wanted });
            }
        }
        Ok(())
    }
}

impl Default for Search {
    fn default() -> Self {
        Self { attainment: 0.9, p99_objectives: 4.0, seeds: vec![1, 2], precision: 0.02 }
    }
}

/// A policy's best split and its goodput there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The split.
    pub split: Split,
    /// Sessions a second.
    pub rate: f64,
}

/// The highest rate, sessions a second, at which the policy meets the search's conditions on this split, from `guess`
/// on: by steps of 1.4 up and down, then by bisection. 0 when it meets them at no rate at which enough sessions come to
/// tell.
///
/// # Errors
/// When a run or the search cannot be.
pub fn goodput(
    site: &Site,
    policies: &Policies,
    split: Split,
    guess: f64,
    search: &Search,
) -> Result<f64, EvaluateError> {
    search.check()?;
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut rate = guess;
    while high > low * (1.0 + search.precision) {
        if meets(site, policies, split, rate, search)? {
            low = rate;
        } else {
            high = rate;
        }
        if high < SESSIONS / site.span().until_s {
            return Ok(0.0);
        }
        rate = if high.is_infinite() {
            low * 1.4
        } else if low == 0.0 {
            high / 1.4
        } else {
            f64::midpoint(low, high)
        };
    }
    Ok(low)
}

fn meets(
    site: &Site,
    policies: &Policies,
    split: Split,
    rate: f64,
    search: &Search,
) -> Result<bool, EvaluateError> {
    let mut sum = 0.0;
    for &seed in &search.seeds {
        let row = site.run(policies, split, &Arrivals::Poisson { rate }, &[], seed)?;
        if row.summary.ttft_p99_s > search.p99_objectives * site.slo.ttft_s {
            return Ok(false);
        }
        sum += row.summary.attainment;
        // Whatever the others give, the mean is out of reach.
        let most = (sum + (search.seeds.len() as f64 - 1.0)) / search.seeds.len() as f64;
        if most < search.attainment {
            return Ok(false);
        }
    }
    Ok(sum / search.seeds.len() as f64 >= search.attainment)
}

/// The split with the highest goodput of those with `prefills` prefill workers; all other workers decode.
///
/// # Errors
/// When a run cannot be.
pub fn best_split(
    site: &Site,
    policies: &Policies,
    prefills: impl IntoIterator<Item = u32>,
    guess: f64,
    search: &Search,
) -> Result<Option<Best>, EvaluateError> {
    let mut best: Option<Best> = None;
    for prefill in prefills {
        let split = Split { prefill, decode: site.cell.workers().saturating_sub(prefill) };
        let from = best.map_or(guess, |best| best.rate.max(guess / 10.0));
        // A split that does not reach what another has is not searched further.
        if let Some(best) = best.filter(|best| best.rate > 0.0)
            && !meets(site, policies, split, best.rate, search)?
        {
            continue;
        }
        let rate = goodput(site, policies, split, from, search)?;
        if best.is_none_or(|best| rate > best.rate) {
            best = Some(Best { split, rate });
        }
    }
    Ok(best)
}

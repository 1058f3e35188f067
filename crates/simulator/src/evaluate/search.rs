//! Goodput: the highest rate at which enough rounds meet their objectives.

use super::{Case, EvaluateError, Runs};
use crate::report::Summary;

/// With fewer sessions than so many, a run says nothing.
const SESSIONS: f64 = 20.0;
/// Rungs of a ladder between its lowest rate that is looked at and its highest, at most: no search is longer.
const MOST_RUNGS: i32 = 2000;

/// How a goodput is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Share of rounds that must meet their objectives.
    pub attainment: f64,
    /// p99 of TTFT that is still no starvation, in objectives.
    pub p99_objectives: f64,
    /// Ratio of neighbouring rates. All searches climb the same ladder of rates, so that different policies are compared
    /// on the same sessions.
    pub step: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self { attainment: 0.9, p99_objectives: 4.0, step: 1.04 }
    }
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
            ("step", self.step, self.step >= 1.001 && self.step <= 2.0, "from 1.001 to 2"),
        ] {
            if !good {
                return Err(EvaluateError::Search { field, value, wanted });
            }
        }
        Ok(())
    }

    fn rate(&self, rung: i32) -> f64 {
        self.step.powi(rung)
    }

    /// The rung nearest to a rate.
    fn rung(&self, rate: f64) -> i32 {
        (rate.max(1e-6).ln() / self.step.ln()).round() as i32
    }

    fn meets(&self, runs: &Runs<'_>, summary: &Summary) -> bool {
        summary.attainment >= self.attainment
            && summary.ttft_p99_s <= self.p99_objectives * runs.site.slo.ttft_s
    }

    /// Whether a case meets the conditions on the rung above a rate: one that does not has no higher goodput to speak of.
    pub(super) fn exceeds(
        &self,
        runs: &mut Runs<'_>,
        case: &Case<'_>,
        rate: f64,
        seed: u64,
    ) -> Result<bool, EvaluateError> {
        let above = self.rung(rate) + 1;
        let summary = runs.summary(case, self.rate(above), seed)?;
        Ok(self.meets(runs, &summary))
    }

    /// The highest rate, sessions a second, at which the case meets the conditions with this seed, looked for from
    /// `guess` on: by rungs of the ladder, in strides that double, then by bisection; between the last rung that meets
    /// them and the first that does not, attainment is taken for linear in the logarithm of the rate. 0 when no rate
    /// meets them at which enough sessions come to tell.
    ///
    /// # Errors
    /// When a run or the search cannot be.
    pub fn goodput(
        &self,
        runs: &mut Runs<'_>,
        case: &Case<'_>,
        guess: f64,
        seed: u64,
    ) -> Result<f64, EvaluateError> {
        self.check()?;
        let start = self.rung(guess);
        let least = self.rung(SESSIONS / runs.site.span().until_s);
        let (mut low, mut high): (Option<i32>, Option<i32>) = (None, None);
        let (mut rung, mut stride) = (start, 1);
        loop {
            let summary = runs.summary(case, self.rate(rung), seed)?;
            if self.meets(runs, &summary) {
                low = Some(rung);
            } else {
                high = Some(rung);
            }
            rung = match (low, high) {
                (Some(low), Some(high)) if high - low <= 1 => break,
                (Some(low), Some(high)) => i32::midpoint(low, high),
                (Some(low), None) => low + stride,
                (None, Some(high)) if high <= least => return Ok(0.0),
                (None, Some(high)) => (high - stride).max(least),
                (None, None) => return Ok(0.0),
            };
            stride *= 2;
            if (rung - start).abs() > MOST_RUNGS {
                return Ok(low.map_or(0.0, |low| self.rate(low)));
            }
        }
        let (Some(low), Some(high)) = (low, high) else { return Ok(0.0) };
        let (met, missed) =
            (runs.summary(case, self.rate(low), seed)?, runs.summary(case, self.rate(high), seed)?);
        // Where it is starvation that ends it, attainment says nothing of where that began.
        if missed.attainment >= self.attainment {
            return Ok(self.rate(low));
        }
        let share = (met.attainment - self.attainment) / (met.attainment - missed.attainment);
        Ok(self.rate(low) * self.step.powf(share))
    }

    /// The same for each of the seeds; each starts where the one before it ended.
    ///
    /// # Errors
    /// As [`Self::goodput`].
    pub fn goodputs(
        &self,
        runs: &mut Runs<'_>,
        case: &Case<'_>,
        guess: f64,
        seeds: &[u64],
    ) -> Result<Vec<f64>, EvaluateError> {
        let mut from = guess;
        seeds
            .iter()
            .map(|&seed| {
                let rate = self.goodput(runs, case, from, seed)?;
                from = if rate > 0.0 { rate } else { from };
                Ok(rate)
            })
            .collect()
    }
}

//! The fewest accelerators that are enough.

use super::halving::{Ended, decide, halve};
use crate::judge::{Judge, Purpose};
use crate::space::Space;
use crate::work::{Work, capacity};
use crate::{Deployment, PlanError};

/// Candidates for each number of accelerators: in the first look, and where it is decided.
const FIRST: usize = 2;
const DECIDING: usize = 6;
/// Of which so many may have the runs that decide.
const TRIED: usize = 3;
/// By so much a single run may be wrong.
const DOUBT: f64 = 0.05;

/// What the search came to.
pub(crate) enum Minimum {
    /// The best deployment with the fewest accelerators that are enough.
    Found(Deployment, Ended),
    /// None up to the largest budget is enough; the best one, where any was run.
    None(Option<Deployment>, Ended),
}

/// Numbers of accelerators, in steps.
struct Ladder {
    first: u32,
    step: u32,
    last: u32,
}

impl Ladder {
    fn rungs(&self) -> u32 {
        (self.last - self.first).div_ceil(self.step)
    }

    fn gpus(&self, rung: u32) -> u32 {
        self.first.saturating_add(rung.saturating_mul(self.step)).min(self.last)
    }
}

/// Looks for it from where arithmetic expects it: in strides that double, then by bisection, with few runs; what is enough
/// with all runs is decided there.
pub(crate) fn minimum(
    judge: &mut Judge<'_>,
    space: &Space<'_>,
    works: &[Work],
    seed: Option<&Deployment>,
    (least, most): (u32, u32),
) -> Result<Minimum, PlanError> {
    let smallest = u32::try_from(space.range().0).unwrap_or(u32::MAX);
    let ladder = Ladder { first: least.max(smallest).min(most), step: space.step(), last: most };
    let mut search = Search { judge, space, works, seed, ladder };
    let last = search.ladder.rungs();
    let start = search.expected().min(last);
    let (mut low, mut high): (Option<u32>, Option<u32>) = (None, None);
    let (mut rung, mut stride) = (start, 1);
    // Between a rung that is not enough, if any, and one that seems to be.
    while let Some(seems) = search.seems_enough(rung)? {
        (low, high) = if seems { (low, Some(rung)) } else { (Some(rung), high) };
        rung = match (low, high) {
            (Some(low), Some(high)) if high - low > 1 => u32::midpoint(low, high),
            (Some(low), None) if low < last => low.saturating_add(stride).min(last),
            (None, Some(high)) if high > 0 => high.saturating_sub(stride),
            _ => break,
        };
        stride = stride.saturating_mul(2);
    }
    search.decide(high.unwrap_or(last), last)
}

/// What came of a rung.
struct Tried {
    found: Option<(Deployment, Ended)>,
    best: Option<Deployment>,
    /// Whether no more may be simulated.
    spent: bool,
}

struct Search<'s, 'a, 'b> {
    judge: &'s mut Judge<'a>,
    space: &'s Space<'b>,
    works: &'s [Work],
    seed: Option<&'s Deployment>,
    ladder: Ladder,
}

impl Search<'_, '_, '_> {
    /// The rung from which on the load can be served by arithmetic.
    fn expected(&self) -> u32 {
        let rate = self.judge.ground.rate();
        let serves = |rung: u32| {
            let best = self.space.best(self.ladder.gpus(rung), self.works, 1);
            best.iter().any(|deployment| capacity(deployment, self.works) >= rate)
        };
        let (mut low, mut high) = (0, self.ladder.rungs());
        while low < high {
            let middle = u32::midpoint(low, high);
            if serves(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    fn candidates(&self, rung: u32, count: usize) -> Vec<Deployment> {
        let gpus = self.ladder.gpus(rung);
        let mut candidates = self.space.best(gpus, self.works, count);
        if let Some(seed) = self.seed {
            let near = self.space.neighbours(seed, gpus);
            // Smaller ones are candidates of lower rungs.
            candidates.extend(
                near.into_iter().filter(|d| d.gpus() + u64::from(self.ladder.step) > u64::from(gpus)),
            );
        }
        candidates
    }

    /// Whether one run of the most promising says that so many may be enough; `None` where no more may be simulated.
    fn seems_enough(&mut self, rung: u32) -> Result<Option<bool>, PlanError> {
        let target = self.judge.ground.task.target;
        for deployment in self.candidates(rung, FIRST) {
            if !self.judge.run(&deployment, Purpose::Comparing, 1)? {
                return Ok(None);
            }
            if self.judge.outcomes(&deployment, Purpose::Comparing)[0].attainment >= target - DOUBT {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Goes up from a rung that seems to be enough until one is, by the runs that decide: in strides that grow, for where one
    /// more is not enough there may be many, and then through those that were left out.
    fn decide(&mut self, from: u32, last: u32) -> Result<Minimum, PlanError> {
        let mut best: Option<Deployment> = None;
        let (mut rung, mut stride) = (from, 1);
        loop {
            let tried = self.tried(rung)?;
            if let Some(found) = tried.found {
                for lower in (rung + 1).saturating_sub(stride.max(1))..rung {
                    if let Some((deployment, ended)) = self.tried(lower)?.found {
                        return Ok(Minimum::Found(deployment, ended));
                    }
                }
                return Ok(Minimum::Found(found.0, found.1));
            }
            best = match (best, tried.best) {
                (Some(before), Some(now)) if self.attained(&before) >= self.attained(&now) => Some(before),
                (before, now) => now.or(before),
            };
            if tried.spent || rung >= last {
                let ended = if tried.spent { Ended::RoundsSpent } else { Ended::AllRuns };
                return Ok(Minimum::None(best, ended));
            }
            stride = if rung == from { 1 } else { stride + 1 };
            let next = rung.saturating_add(stride).min(last);
            stride = next - rung;
            rung = next;
        }
    }

    /// Whether a deployment of a rung is enough, by the runs that decide.
    fn tried(&mut self, rung: u32) -> Result<Tried, PlanError> {
        let target = self.judge.ground.task.target;
        let (mut ranked, enough) = halve(self.judge, &self.candidates(rung, DECIDING))?;
        ranked.truncate(TRIED);
        let mut tried = Tried { found: None, best: None, spent: !enough };
        for deployment in &ranked {
            // One that is far from it in short runs, which flatter, is far from it.
            if tried.spent || self.attained(deployment) < target - DOUBT {
                break;
            }
            let ended = decide(self.judge, &mut [*deployment], 1)?;
            if ended != Ended::RoundsSpent && self.attained(deployment) >= target {
                tried.found = Some((*deployment, ended));
                return Ok(tried);
            }
            tried.spent = ended == Ended::RoundsSpent;
        }
        tried.best = ranked.into_iter().max_by(|a, b| self.attained(a).total_cmp(&self.attained(b)));
        Ok(tried)
    }

    fn attained(&self, deployment: &Deployment) -> f64 {
        self.judge.prediction(deployment).map_or(0.0, |predicted| predicted.attainment.mean)
    }
}

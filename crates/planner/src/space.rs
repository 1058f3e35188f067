//! Deployments that the bounds allow.

use crate::ground::Ground;
use crate::work::{Work, capacity};
use crate::{Deployment, PlanError, Pool, RoleBounds};

/// The deployments that there are, by the accelerators that they have.
pub(crate) struct Space<'a> {
    ground: &'a Ground<'a>,
    prefill: &'a RoleBounds,
    decode: &'a RoleBounds,
}

impl<'a> Space<'a> {
    pub(crate) fn of(ground: &'a Ground<'a>, prefill: &'a RoleBounds, decode: &'a RoleBounds) -> Self {
        Self { ground, prefill, decode }
    }

    /// Replicas of a role that are no fewer than `least` and no fewer than its bound.
    fn least(&self, of: &RoleBounds, least: u32) -> u32 {
        of.least.max(least).div_ceil(self.ground.block).saturating_mul(self.ground.block)
    }

    /// Accelerators of the smallest and of the largest deployment.
    pub(crate) fn range(&self) -> (u64, u64) {
        let (p, d) = (self.least(self.prefill, 0), self.least(self.decode, 1));
        let degrees = |of: &[u32]| {
            let least = of.iter().copied().min().unwrap_or(1);
            (u64::from(least), u64::from(of.iter().copied().max().unwrap_or(1)))
        };
        let ((p_low, p_high), (d_low, d_high)) =
            (degrees(&self.ground.prefill), degrees(&self.ground.decode));
        let least = u64::from(p) * p_low + u64::from(d) * d_low;
        (least, u64::from(self.prefill.most) * p_high + u64::from(self.decode.most) * d_high)
    }

    /// Accelerators by which deployments grow, at least.
    pub(crate) fn step(&self) -> u32 {
        let degrees = self.ground.prefill.iter().chain(&self.ground.decode);
        degrees.copied().fold(0, gcd).max(1).saturating_mul(self.ground.block)
    }

    /// The budget checked against the bounds: that of the largest deployment that it allows.
    pub(crate) fn check(&self, least_gpus: u32, most_gpus: u32) -> Result<(), PlanError> {
        let (least, most) = self.range();
        if u64::from(most_gpus) < least {
            return Err(PlanError::TooFewGpus { gpus: most_gpus, least });
        }
        if u64::from(least_gpus) > most {
            return Err(PlanError::TooManyGpus { gpus: least_gpus, most });
        }
        Ok(())
    }

    /// For each pair of degrees and number of prefill workers, the deployment with the most decode workers that has at
    /// most so many accelerators.
    pub(crate) fn under(&self, gpus: u32) -> Vec<Deployment> {
        let mut found = Vec::new();
        for &d_degree in &self.ground.decode {
            let least_decode = self.least(self.decode, 1);
            let mut push = |prefill: Pool| {
                let left = u64::from(gpus).saturating_sub(prefill.gpus()) / u64::from(d_degree);
                let most = left.min(u64::from(self.decode.most)) as u32;
                let replicas = most / self.ground.block * self.ground.block;
                if replicas >= least_decode {
                    found.push(Deployment { prefill, decode: Pool { replicas, degree: d_degree } });
                }
            };
            if self.prefill.least == 0 {
                push(Pool { replicas: 0, degree: d_degree });
            }
            for &degree in &self.ground.prefill {
                let most = self.prefill.most.min(gpus / degree);
                let first = self.least(self.prefill, 1);
                for replicas in (first..=most).step_by(self.ground.block as usize) {
                    push(Pool { replicas, degree });
                }
            }
        }
        found
    }

    /// Of these, the `count` that are expected to serve the most by `works`, the best first; the best of each pair of
    /// degrees and the best without prefill workers are among them in any case.
    pub(crate) fn best(&self, gpus: u32, works: &[Work], count: usize) -> Vec<Deployment> {
        let mut ranked: Vec<(f64, Deployment)> = self
            .under(gpus)
            .into_iter()
            .map(|deployment| (capacity(&deployment, works), deployment))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.gpus().cmp(&b.1.gpus())).then(a.1.cmp(&b.1)));
        let best = ranked.first().map_or(0.0, |(capacity, _)| *capacity);
        let mut kinds = Vec::new();
        let mut chosen: Vec<Deployment> = Vec::new();
        for (place, (capacity, deployment)) in ranked.iter().enumerate() {
            let Deployment { prefill, decode } = *deployment;
            let kind = (prefill.replicas > 0).then_some((prefill.degree, decode.degree));
            // A kind that is hopeless by arithmetic is so in truth.
            let first = !kinds.contains(&kind) && *capacity >= HOPELESS * best;
            if first {
                kinds.push(kind);
            }
            if place < count || first {
                chosen.push(*deployment);
            }
        }
        chosen
    }

    /// The deployments with one part more or less of either role, as far as the bounds and `gpus` allow.
    pub(crate) fn neighbours(&self, of: &Deployment, gpus: u32) -> Vec<Deployment> {
        let block = i64::from(self.ground.block);
        let moved = |(dp, dd): (i64, i64)| {
            let shift = |pool: Pool, by: i64, bounds: &RoleBounds, least: u32| {
                let replicas = u32::try_from(i64::from(pool.replicas) + by * block).ok()?;
                let good = replicas >= bounds.least.max(least) && replicas <= bounds.most;
                good.then_some(Pool { replicas, ..pool })
            };
            let mut prefill = shift(of.prefill, dp, self.prefill, 0)?;
            let decode = shift(of.decode, dd, self.decode, 1)?;
            if prefill.replicas == 0 {
                prefill.degree = decode.degree;
            }
            let deployment = Deployment { prefill, decode };
            (deployment.gpus() <= u64::from(gpus)).then_some(deployment)
        };
        [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)].into_iter().filter_map(moved).collect()
    }
}

/// Share of the best capacity below which another kind of deployment is not simulated.
const HOPELESS: f64 = 0.7;

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

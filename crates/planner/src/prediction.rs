//! What is to be expected of a deployment.

use ampd_scheduler::Slo;
use ampd_simulator::evaluate::Interval;
use ampd_simulator::report::{Place, Run, Span, quantile};
use serde::Serialize;

/// What one run gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub rounds: u64,
    pub attainment: f64,
    pub misses: Misses,
    pub goodput: f64,
    pub ttft_p95_s: f64,
    pub itl_p95_s: f64,
    /// P95 of TTFT where a refused round counts as one that waits for ever.
    pub ttft_p95_all_s: f64,
    pub local_share: f64,
}

/// Shares of rounds that missed, by what they missed first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Misses {
    /// Their TTFT objective.
    pub ttft: f64,
    /// Their ITL objective, and not that of TTFT.
    pub itl: f64,
    /// Both: their session was refused.
    pub refused: f64,
}

/// What is to be expected of a deployment: means over runs with different seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Share of rounds that meet their objectives.
    pub attainment: Interval,
    /// Rounds a second that do.
    pub goodput: f64,
    /// P95 of TTFT, without refused rounds, seconds.
    pub ttft_p95_s: f64,
    /// P95 of the rounds' mean ITL, seconds.
    pub itl_p95_s: f64,
    /// The larger of both as shares of their objectives, where a refused round counts as one that waits for ever; infinite,
    /// in JSON `null`, where more than 5 % are refused.
    pub z: f64,
    /// What the others missed.
    pub misses: Misses,
    /// Share of prefills that run on decode workers.
    pub local_share: f64,
    /// Rounds that this is of.
    pub rounds: u64,
    /// Runs that this is of.
    pub runs: usize,
    /// Whether they are runs that decide; those that only compare are shorter, and flatter.
    pub decided: bool,
}

impl Outcome {
    /// Sums up the rounds of a run that arrived in `span`; where there are `parts` of the simulated one, all serve as
    /// much.
    pub(crate) fn of(run: &Run, slo: &Slo, span: Span, parts: f64) -> Self {
        let within = |record: &&ampd_simulator::report::RoundRecord| {
            (span.from_s..span.until_s).contains(&record.arrival_s)
        };
        // At the lowest loads all may have come before: they are as good as any.
        let any = run.rounds.iter().any(|record| within(&record));
        let (mut ttfts, mut itls, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rounds, mut met, mut late, mut slow, mut refused) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let (mut local, mut placed) = (0_u64, 0_u64);
        for record in run.rounds.iter().filter(|record| !any || within(record)) {
            rounds += 1;
            match record.place {
                Place::Local => (local, placed) = (local + 1, placed + 1),
                Place::Remote(_) => placed += 1,
                Place::Refused | Place::Undecided => {}
            }
            itls.extend(record.itl_mean_s);
            if record.place == Place::Refused {
                refused += 1;
                waits.push(f64::INFINITY);
                continue;
            }
            let ttft_s = record.ttft_s.unwrap_or(run.ended_s - record.arrival_s);
            ttfts.push(ttft_s);
            waits.push(ttft_s);
            if record.attains(slo) {
                met += 1;
            } else if record.ttft_s.is_none_or(|ttft_s| ttft_s > slo.ttft_s) {
                late += 1;
            } else {
                slow += 1;
            }
        }
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let seconds = if any { span.until_s - span.from_s } else { run.ended_s };
        Self {
            rounds,
            attainment: share(met, rounds),
            misses: Misses {
                ttft: share(late, rounds),
                itl: share(slow, rounds),
                refused: share(refused, rounds),
            },
            goodput: parts * met as f64 / seconds.max(f64::MIN_POSITIVE),
            ttft_p95_s: quantile(&mut ttfts, 0.95),
            itl_p95_s: quantile(&mut itls, 0.95),
            ttft_p95_all_s: quantile(&mut waits, 0.95),
            local_share: share(local, placed),
        }
    }

    /// The paper's Z: the larger P95 as a share of its objective.
    pub(crate) fn z(&self, slo: &Slo) -> f64 {
        (self.ttft_p95_all_s / slo.ttft_s).max(self.itl_p95_s / slo.itl_s)
    }
}

impl Prediction {
    /// Of runs with different seeds; there is one at least.
    pub(crate) fn of(outcomes: &[Outcome], decided: bool, slo: &Slo) -> Self {
        let mean = |value: &dyn Fn(&Outcome) -> f64| {
            outcomes.iter().map(value).sum::<f64>() / outcomes.len().max(1) as f64
        };
        let attainments: Vec<f64> = outcomes.iter().map(|outcome| outcome.attainment).collect();
        Self {
            attainment: Interval::of(&attainments),
            goodput: mean(&|outcome| outcome.goodput),
            ttft_p95_s: mean(&|outcome| outcome.ttft_p95_s),
            itl_p95_s: mean(&|outcome| outcome.itl_p95_s),
            z: mean(&|outcome| outcome.z(slo)),
            misses: Misses {
                ttft: mean(&|outcome| outcome.misses.ttft),
                itl: mean(&|outcome| outcome.misses.itl),
                refused: mean(&|outcome| outcome.misses.refused),
            },
            local_share: mean(&|outcome| outcome.local_share),
            rounds: outcomes.iter().map(|outcome| outcome.rounds).sum(),
            runs: outcomes.len(),
            decided,
        }
    }
}

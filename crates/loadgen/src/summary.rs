//! What the rounds of a run add up to.

use std::collections::BTreeMap;

use ampd_simulator::report::quantile;
use serde::{Deserialize, Serialize};

use crate::record::RoundRecord;

/// The 97.5th percentile of the normal distribution, for intervals of 95 %.
const Z: f64 = 1.959_964;

/// What rounds are to meet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    /// Longest TTFT, seconds.
    pub ttft_s: f64,
    /// Longest mean ITL, seconds.
    pub itl_s: f64,
}

impl Objectives {
    /// Whether a round met both. One that failed, or was not sent for that reason, did not.
    #[must_use]
    pub fn are_met(&self, record: &RoundRecord) -> bool {
        record.failure.is_none()
            && record.ttft_s.is_some_and(|ttft| ttft <= self.ttft_s)
            && record.itl_s.is_none_or(|itl| itl <= self.itl_s)
    }
}

/// Percentiles, seconds; 0 without any value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50_s: f64,
    /// The 95th percentile.
    pub p95_s: f64,
    /// The 99th percentile.
    pub p99_s: f64,
}

impl Quantiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        let mut at = |share| quantile(&mut values, share);
        Self { p50_s: at(0.5), p95_s: at(0.95), p99_s: at(0.99) }
    }
}

/// Some of the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Rounds.
    pub rounds: usize,
    /// Those that met both objectives.
    pub attained: usize,
    /// Those that failed or were not sent.
    pub failed: usize,
}

impl Tally {
    fn add(&mut self, record: &RoundRecord, objectives: &Objectives) {
        self.rounds += 1;
        self.attained += usize::from(objectives.are_met(record));
        self.failed += usize::from(record.failure.is_some());
    }

    /// The share that met both objectives; 0 without rounds.
    #[must_use]
    pub fn attainment(&self) -> f64 {
        if self.rounds == 0 { 0.0 } else { self.attained as f64 / self.rounds as f64 }
    }

    /// The interval in which that share lies with 95 % confidence (Wilson's score interval, 1927).
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        if self.rounds == 0 {
            return (0.0, 1.0);
        }
        let (count, share) = (self.rounds as f64, self.attainment());
        let centre = share + Z * Z / (2.0 * count);
        let half = Z * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
        let whole = 1.0 + Z * Z / count;
        (((centre - half) / whole).max(0.0), ((centre + half) / whole).min(1.0))
    }
}

/// What a run adds up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was to be met.
    pub objectives: Objectives,
    /// All rounds.
    pub all: Tally,
    /// By the round's number.
    pub by_round: BTreeMap<usize, Tally>,
    /// By where the prefill ran, where the service says so.
    pub by_prefill: BTreeMap<String, Tally>,
    /// Sessions all of whose rounds met the objectives.
    pub sessions_attained: usize,
    /// Sessions.
    pub sessions: usize,
    /// TTFT of the rounds that have one.
    pub ttft: Quantiles,
    /// Mean ITL of the rounds that have one.
    pub itl: Quantiles,
    /// Rounds a second that met the objectives.
    pub goodput: f64,
    /// Output tokens a second.
    pub output_tokens_s: f64,
}

impl Summary {
    /// Sums up the rounds of a run that took so many seconds.
    #[must_use]
    pub fn of(records: &[RoundRecord], objectives: Objectives, took_s: f64) -> Self {
        let mut all = Tally::default();
        let (mut by_round, mut by_prefill) =
            (BTreeMap::<usize, Tally>::new(), BTreeMap::<String, Tally>::new());
        let mut sessions: BTreeMap<usize, bool> = BTreeMap::new();
        for record in records {
            all.add(record, &objectives);
            by_round.entry(record.round).or_default().add(record, &objectives);
            if let Some(path) = &record.prefill {
                by_prefill.entry(path.clone()).or_default().add(record, &objectives);
            }
            *sessions.entry(record.session).or_insert(true) &= objectives.are_met(record);
        }
        let a_second = |count: f64| if took_s > 0.0 { count / took_s } else { 0.0 };
        let tokens: u64 = records.iter().filter_map(|record| record.output_tokens).sum();
        Self {
            objectives,
            all,
            by_round,
            by_prefill,
            sessions_attained: sessions.values().filter(|met| **met).count(),
            sessions: sessions.len(),
            ttft: Quantiles::of(records.iter().filter_map(|record| record.ttft_s)),
            itl: Quantiles::of(records.iter().filter_map(|record| record.itl_s)),
            goodput: a_second(all.attained as f64),
            output_tokens_s: a_second(tokens as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_share_and_shrink_with_rounds() {
        let tally = |attained, rounds| Tally { rounds, attained, failed: 0 };
        // Wilson's interval of 8 in 10.
        let (low, high) = tally(8, 10).interval();
        assert!((low - 0.490).abs() < 1e-3 && (high - 0.943).abs() < 1e-3, "{low} {high}");
        let (low, high) = tally(800, 1000).interval();
        assert!(low > 0.77 && high < 0.83, "{low} {high}");
        assert_eq!((tally(0, 0).interval(), tally(0, 0).attainment()), ((0.0, 1.0), 0.0));
        assert!(tally(5, 5).interval().1 <= 1.0 && tally(0, 5).interval().0 >= 0.0);
    }
}

//! What records add up to.

use std::collections::BTreeMap;

use ampd_scheduler::Slo;
use serde::Serialize;

use super::{Place, Run};

/// A span of time, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Its beginning.
    pub from_s: f64,
    /// Its end.
    pub until_s: f64,
}

/// The rounds that arrived in a span. Rounds that never ended and those of refused sessions count as missed. A round that
/// was let in and still waits for its first token when the run ends has a TTFT of at least what it has waited, and counts
/// with that: else a policy would look the better the longer it lets some wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rounds.
    pub rounds: u64,
    /// Share of rounds that met their objectives.
    pub attainment: f64,
    /// Share of sessions, of those with a round in the span, all of whose rounds in it did.
    pub session_attainment: f64,
    /// Rounds a second that met their objectives.
    pub goodput: f64,
    /// Share of served prefills that ran on decode workers.
    pub local_share: f64,
    /// Share of rounds whose session was refused.
    pub refused_share: f64,
    /// Median TTFT, without refused rounds, seconds.
    pub ttft_p50_s: f64,
    /// Its 95th percentile.
    pub ttft_p95_s: f64,
    /// Its 99th percentile.
    pub ttft_p99_s: f64,
    /// Median of the rounds' mean ITL, seconds.
    pub itl_p50_s: f64,
    /// Its 95th percentile.
    pub itl_p95_s: f64,
    /// 99th percentile of the rounds' own 99th percentiles of ITL, seconds: how long stalls are.
    pub itl_stall_s: f64,
}

impl Summary {
    /// Sums up the rounds of `run` that arrived in `span`.
    #[must_use]
    pub fn of(run: &Run, slo: &Slo, span: Span) -> Self {
        let arrived = |at_s: f64| at_s >= span.from_s && at_s < span.until_s;
        let (mut ttfts, mut means, mut stalls) = (Vec::new(), Vec::new(), Vec::new());
        let (mut met, mut local, mut placed, mut refused, mut rounds) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let mut sessions: BTreeMap<u32, bool> = BTreeMap::new();
        for record in run.rounds.iter().filter(|record| arrived(record.arrival_s)) {
            let attains = record.attains(slo);
            rounds += 1;
            met += u64::from(attains);
            *sessions.entry(record.session).or_insert(true) &= attains;
            match record.place {
                Place::Local => (local, placed) = (local + 1, placed + 1),
                Place::Remote(_) => placed += 1,
                Place::Refused => refused += 1,
                Place::Undecided => {}
            }
            let waited = (record.place != Place::Refused).then_some(run.ended_s - record.arrival_s);
            ttfts.extend(record.ttft_s.or(waited));
            means.extend(record.itl_mean_s);
            stalls.extend(record.itl_p99_s);
        }
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let whole_sessions = sessions.values().filter(|met| **met).count() as u64;
        Self {
            rounds,
            attainment: share(met, rounds),
            session_attainment: share(whole_sessions, sessions.len() as u64),
            goodput: if span.until_s > span.from_s { met as f64 / (span.until_s - span.from_s) } else { 0.0 },
            local_share: share(local, placed),
            refused_share: share(refused, rounds),
            ttft_p50_s: quantile(&mut ttfts, 0.5),
            ttft_p95_s: quantile(&mut ttfts, 0.95),
            ttft_p99_s: quantile(&mut ttfts, 0.99),
            itl_p50_s: quantile(&mut means, 0.5),
            itl_p95_s: quantile(&mut means, 0.95),
            itl_stall_s: quantile(&mut stalls, 0.99),
        }
    }
}

impl Summary {
    /// The means over several runs; rounds are summed up.
    #[must_use]
    pub fn mean(summaries: &[Self]) -> Self {
        let mean = |value: fn(&Self) -> f64| {
            summaries.iter().map(value).sum::<f64>() / summaries.len().max(1) as f64
        };
        Self {
            rounds: summaries.iter().map(|summary| summary.rounds).sum(),
            attainment: mean(|summary| summary.attainment),
            session_attainment: mean(|summary| summary.session_attainment),
            goodput: mean(|summary| summary.goodput),
            local_share: mean(|summary| summary.local_share),
            refused_share: mean(|summary| summary.refused_share),
            ttft_p50_s: mean(|summary| summary.ttft_p50_s),
            ttft_p95_s: mean(|summary| summary.ttft_p95_s),
            ttft_p99_s: mean(|summary| summary.ttft_p99_s),
            itl_p50_s: mean(|summary| summary.itl_p50_s),
            itl_p95_s: mean(|summary| summary.itl_p95_s),
            itl_stall_s: mean(|summary| summary.itl_stall_s),
        }
    }
}

/// The value that a share `q` of the values does not exceed; 0 without any.
#[must_use]
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let place = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1;
    *values.select_nth_unstable_by(place, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RoundRecord;

    fn record(session: u32, arrival_s: f64, ttft_s: Option<f64>, itl_s: f64) -> RoundRecord {
        RoundRecord {
            session,
            round: 1,
            arrival_s,
            ttft_s,
            itl_mean_s: Some(itl_s),
            itl_p99_s: Some(itl_s),
            finished: ttft_s.is_some(),
            place: if ttft_s.is_some() { Place::Local } else { Place::Refused },
            reason: None,
            history: 0,
            increment: 1,
            output: 2,
            preempted: 0,
        }
    }

    #[test]
    fn what_misses_either_objective_or_never_came_is_missed() {
        let rounds = vec![
            record(0, 0.5, Some(9.0), 9.0),
            record(1, 1.0, Some(0.5), 0.05),
            record(1, 2.0, Some(1.5), 0.05),
            record(2, 3.0, Some(0.5), 0.15),
            record(3, 4.0, None, 0.0),
            record(4, 4.5, Some(1.0), 0.1),
        ];
        let run = Run { rounds, ..Run::default() };
        let slo = Slo { ttft_s: 1.0, itl_s: 0.1 };
        let summary = Summary::of(&run, &slo, Span { from_s: 1.0, until_s: 5.0 });
        assert_eq!((summary.rounds, summary.attainment, summary.goodput), (5, 0.4, 0.5));
        assert_eq!((summary.session_attainment, summary.refused_share), (0.25, 0.2));
        assert_eq!((summary.ttft_p50_s, summary.local_share), (0.5, 1.0));
    }

    #[test]
    fn who_still_waits_counts_with_its_wait() {
        let waits = RoundRecord { place: Place::Remote(0), ..record(1, 2.0, None, 0.0) };
        let run = Run { rounds: vec![record(0, 1.0, Some(0.5), 0.1), waits], ended_s: 9.0, ..Run::default() };
        let summary = Summary::of(&run, &Slo { ttft_s: 1.0, itl_s: 0.1 }, Span { from_s: 0.0, until_s: 5.0 });
        assert_eq!((summary.ttft_p50_s, summary.ttft_p99_s, summary.attainment), (0.5, 7.0, 0.5));
    }

    #[test]
    fn quantiles_are_values() {
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.99)), (50.0, 99.0));
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}

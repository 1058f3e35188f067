//! How long an overload is felt after it has ended.

use super::{Case, EvaluateError, Runs};
use crate::report::Run;
use crate::workload::Arrivals;
use ampd_scheduler::Slo;

/// Load before and after the overload, and in it, as shares of capacity.
const CALM: f64 = 0.8;
const SURGE: f64 = 1.6;
/// Seconds that it lasts.
const SURGE_S: f64 = 60.0;
/// Seconds of arrivals that are looked at together.
const WINDOW_S: f64 = 10.0;
/// Share of their rounds that must meet their objectives.
const RECOVERED: f64 = 0.9;
/// Seconds after which no more is looked for.
const MOST_S: f64 = 200.0;

/// Seconds from the end of an overload of 60 s until the rounds of the next 10 s meet their objectives again; 200 when
/// they do not within that time.
pub(super) fn recovery_s(
    runs: &Runs<'_>,
    case: &Case<'_>,
    capacity: f64,
    seed: u64,
) -> Result<f64, EvaluateError> {
    let span = runs.site.span();
    let until_s = span.from_s + SURGE_S;
    let surge = Arrivals::Surge { rate: CALM * capacity, factor: SURGE / CALM, from_s: span.from_s, until_s };
    let run = runs.records(case, &surge, seed)?;
    Ok(after_s(&run, &runs.site.slo, until_s))
}

fn after_s(run: &Run, slo: &Slo, ended_s: f64) -> f64 {
    let mut waited_s = 0.0;
    while waited_s < MOST_S {
        let from_s = ended_s + waited_s;
        let window = run.rounds.iter().filter(|round| (from_s..from_s + WINDOW_S).contains(&round.arrival_s));
        let (met, all) = window
            .fold((0.0, 0.0), |(met, all), round| (met + f64::from(u8::from(round.attains(slo))), all + 1.0));
        if all > 0.0 && met >= RECOVERED * all {
            break;
        }
        waited_s += 1.0;
    }
    waited_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Place, RoundRecord};

    #[test]
    fn it_is_over_when_nine_of_ten_meet_their_objectives() {
        let round = |arrival_s: f64| RoundRecord {
            session: 0,
            round: 1,
            arrival_s,
            // Late for 30 s after the end.
            ttft_s: Some(if arrival_s < 130.0 { 9.0 } else { 0.5 }),
            itl_mean_s: None,
            itl_p99_s: None,
            finished: true,
            place: Place::Local,
            reason: None,
            history: 0,
            increment: 1,
            output: 1,
            preempted: 0,
        };
        let rounds = (0..4000).map(|n| round(f64::from(n) * 0.1)).collect();
        let run = Run { rounds, ..Run::default() };
        let slo = Slo { ttft_s: 1.0, itl_s: 0.1 };
        assert_eq!(after_s(&run, &slo, 100.0), 29.0);
        assert_eq!(after_s(&run, &slo, 200.0), 0.0);
        assert_eq!(after_s(&Run::default(), &slo, 100.0), MOST_S);
    }
}

//! Overload: whether a new session is let in, by what its rounds would then have to expect.

use crate::routing::Slo;

/// What happens to a new session while its objectives cannot be met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overload {
    /// It is let in like any other; then all are late.
    #[default]
    Off,
    /// It is refused, and told when to come again.
    Shed,
    /// It waits before its first round.
    Queue,
    /// It is served without an objective: behind all others, where queues go by slack.
    BestEffort,
}

/// What a session would meet if it were let in now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Shortest predicted wait for a prefill, over all prefill workers or, without any, over the decode workers,
    /// seconds; infinite without either.
    pub prefill_wait_s: f64,
    /// Shortest predicted time of a step with one round more, over the decode workers that take sessions, seconds;
    /// infinite when none does.
    pub step_s: f64,
}

/// What becomes of a new session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Admission {
    /// It is let in.
    Admit,
    /// It is refused for now.
    Refuse {
        /// Seconds after which it may come again.
        retry_after_s: f64,
    },
    /// It waits.
    Wait,
    /// It is let in behind all others.
    BestEffort,
}

/// Share of the TTFT objective from which on a predicted wait is too long. Sessions bring most of their prefills later:
/// at nine tenths, those that were let in already are late by the time that their second rounds come.
const FULL_WAIT: f64 = 0.4;
/// Share of the ITL objective from which on a predicted step is too long. Not less than all of it: where steps hardly grow
/// with their rows, they are near the objective long before a worker is full.
const FULL_STEP: f64 = 1.0;
/// Bounds of the advice when to come again, seconds.
const RETRY_S: (f64, f64) = (1.0, 30.0);

impl Overload {
    /// Decides on a new session. Sessions that were let in are never asked again: their rounds are all served.
    #[must_use]
    pub fn admit(self, forecast: &Forecast, slo: &Slo) -> Admission {
        // Infinite where there is no worker that takes any: that is a long wait, and what is not a number is none.
        let wait_s = forecast.prefill_wait_s.max(0.0);
        let (wait, step) = (wait_s / slo.ttft_s, forecast.step_s.max(0.0) / slo.itl_s);
        if self == Self::Off || (wait < FULL_WAIT && step < FULL_STEP) {
            return Admission::Admit;
        }
        match self {
            Self::Off => Admission::Admit,
            Self::Shed => Admission::Refuse { retry_after_s: wait_s.clamp(RETRY_S.0, RETRY_S.1) },
            Self::Queue => Admission::Wait,
            Self::BestEffort => Admission::BestEffort,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLO: Slo = Slo { ttft_s: 2.0, itl_s: 0.1 };
    const CALM: Forecast = Forecast { prefill_wait_s: 0.5, step_s: 0.05 };
    const LATE: Forecast = Forecast { prefill_wait_s: 5.0, ..CALM };
    const SLOW: Forecast = Forecast { step_s: 0.101, ..CALM };

    #[test]
    fn each_kind_answers_overload_in_its_way() {
        for forecast in [LATE, SLOW] {
            assert_eq!(Overload::Off.admit(&forecast, &SLO), Admission::Admit);
            assert_eq!(Overload::Queue.admit(&forecast, &SLO), Admission::Wait);
            assert_eq!(Overload::BestEffort.admit(&forecast, &SLO), Admission::BestEffort);
        }
        assert_eq!(Overload::Shed.admit(&LATE, &SLO), Admission::Refuse { retry_after_s: 5.0 });
        assert_eq!(Overload::Shed.admit(&SLOW, &SLO), Admission::Refuse { retry_after_s: 1.0 });
    }

    #[test]
    fn without_any_worker_nobody_is_let_in() {
        let nobody = Forecast { prefill_wait_s: f64::INFINITY, step_s: f64::INFINITY };
        assert_eq!(Overload::Shed.admit(&nobody, &SLO), Admission::Refuse { retry_after_s: 30.0 });
        assert_eq!(Overload::Queue.admit(&nobody, &SLO), Admission::Wait);
    }

    #[test]
    fn nobody_is_refused_while_objectives_can_be_met() {
        for overload in [Overload::Off, Overload::Shed, Overload::Queue, Overload::BestEffort] {
            assert_eq!(overload.admit(&CALM, &SLO), Admission::Admit);
        }
    }

    proptest! {
        #[test]
        fn any_forecast_gets_an_answer(prefill_wait_s: f64, step_s: f64, ttft_s: f64, itl_s: f64) {
            let slo = Slo { ttft_s, itl_s };
            let answer = Overload::Shed.admit(&Forecast { prefill_wait_s, step_s }, &slo);
            if let Admission::Refuse { retry_after_s } = answer {
                prop_assert!((RETRY_S.0..=RETRY_S.1).contains(&retry_after_s));
            }
        }
    }
}

//! Trying again, with pauses that grow.

use std::time::Duration;

use crate::error::FetchError;
use crate::report::{Note, Report};
use crate::settings::Settings;

/// The longest pause that the hub may ask for.
const LONGEST_TOLD: Duration = Duration::from_mins(2);

/// A try that failed.
pub(crate) struct Failure {
    error: FetchError,
    again: Option<Again>,
}

/// Another try may succeed.
struct Again {
    /// The pause that the hub asks for.
    told: Option<Duration>,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self { error, again: None }
    }
}

impl Failure {
    pub(crate) fn passing(error: FetchError) -> Self {
        Self { error, again: Some(Again { told: None }) }
    }

    pub(crate) fn told(mut self, told: Option<Duration>) -> Self {
        self.again = Some(Again { told });
        self
    }
}

/// How many tries are left of one request.
pub(crate) struct Patience<'a> {
    settings: &'a Settings,
    report: &'a dyn Report,
    failed: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(settings: &'a Settings, report: &'a dyn Report) -> Self {
        Self { settings, report, failed: 0 }
    }

    /// Pauses before the next try, or gives up with the error.
    pub(crate) async fn after(&mut self, failure: Failure) -> Result<(), FetchError> {
        self.failed += 1;
        let again = match failure.again {
            Some(again) if self.failed < self.settings.attempts => again,
            _ => return Err(failure.error),
        };
        let pause = again.told.map_or_else(|| self.pause(), |told| told.min(LONGEST_TOLD));
        self.report.say(&Note::Again { error: &failure.error, pause });
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// A try has brought something: it counts as the first.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Twice as long each time, and never the same for all who lost the hub at one moment.
    fn pause(&self) -> Duration {
        let doubled = self.settings.pause.saturating_mul(1 << (self.failed - 1).min(16));
        doubled.min(self.settings.longest_pause).mul_f64(rand::random_range(0.5..1.0))
    }
}

/// Asks until there is an answer or patience ends.
pub(crate) async fn patiently<T>(
    mut patience: Patience<'_>,
    mut ask: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, FetchError> {
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => patience.after(failure).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let settings = Settings::new(crate::endpoint("").unwrap(), None);
        let mut patience = Patience::new(&settings, &Silent);
        for (failed, longest) in [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (40, 30.0)] {
            patience.failed = failed;
            let pauses: Vec<f64> = (0..20).map(|_| patience.pause().as_secs_f64()).collect();
            assert!(pauses.iter().all(|pause| (longest / 2.0..longest).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}

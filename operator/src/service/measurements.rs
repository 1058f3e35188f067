//! What sidecars said of their rounds, kept for a while: a status that changes has its service looked at again, and with
//! new counts each time that would never end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::slo::Measured;

/// How long it is good.
const FRESH: Duration = Duration::from_secs(50);
/// A service that was not looked at for so long is gone: nothing tells when one is deleted.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// By the service's uid.
#[derive(Debug, Default)]
pub struct Measurements(Mutex<HashMap<String, (Instant, Measured)>>);

impl Measurements {
    /// What was said lately.
    pub(crate) fn fresh(&self, uid: &str, now: Instant) -> Option<Measured> {
        let (at, measured) = self.0.lock().get(uid).copied()?;
        (now.duration_since(at) < FRESH).then_some(measured)
    }

    /// Keeps what was said just now.
    pub(crate) fn keep(&self, uid: &str, measured: Measured, now: Instant) {
        let mut services = self.0.lock();
        services.retain(|_, (at, _)| now.duration_since(*at) < FORGOTTEN);
        services.insert(uid.into(), (now, measured));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_good_for_a_while_and_forgotten_later() {
        let (measurements, start) = (Measurements::default(), Instant::now());
        let measured = Measured { asked: 1, ..Measured::default() };
        measurements.keep("a", measured, start);
        assert_eq!(measurements.fresh("a", start + Duration::from_secs(49)), Some(measured));
        assert_eq!(measurements.fresh("a", start + FRESH), None);
        assert_eq!(measurements.fresh("b", start), None);
        measurements.keep("b", measured, start + FORGOTTEN);
        assert_eq!(measurements.0.lock().len(), 1);
    }
}

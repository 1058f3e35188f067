//! How old a load signal may be.

/// Ages, in seconds, at which a signal loses its standing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignalAges {
    /// Up to this age a signal counts as it is.
    pub fresh_s: f64,
    /// Up to this age its last value is held; beyond it the worker's load is unknown.
    pub held_s: f64,
}

impl Default for SignalAges {
    /// Ten readings of 100 ms may fail before a signal is held, and it is held as long as AMPD's window is wide.
    fn default() -> Self {
        Self { fresh_s: 1.0, held_s: 10.0 }
    }
}

/// What a signal of some age is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It counts.
    Fresh,
    /// Its last value is held.
    Held,
    /// Nothing is known.
    Stale,
}

impl SignalAges {
    /// The standing of a signal that is `age_s` seconds old; one never read has an infinite age.
    #[must_use]
    pub fn of(&self, age_s: f64) -> Freshness {
        if age_s <= self.fresh_s {
            Freshness::Fresh
        } else if age_s <= self.held_s {
            Freshness::Held
        } else {
            Freshness::Stale
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_falls_with_age() {
        let ages = SignalAges::default();
        assert_eq!(ages.of(0.1), Freshness::Fresh);
        assert_eq!(ages.of(5.0), Freshness::Held);
        assert_eq!(ages.of(11.0), Freshness::Stale);
        assert_eq!(ages.of(f64::INFINITY), Freshness::Stale);
        assert_eq!(ages.of(f64::NAN), Freshness::Stale);
    }
}

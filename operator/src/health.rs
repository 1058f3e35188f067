//! What the operator tells of itself over HTTP: whether it lives and is ready, to anybody and nothing more, and its
//! metrics, to those who may see them.

mod endpoints;
mod gate;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use endpoints::{serve_metrics, serve_probes};
pub use server::{ServeError, Serving};

/// A reconcile that takes longer hangs: everything that it waits for has a deadline far below.
const STUCK: Duration = Duration::from_mins(5);

/// What this replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not yet ready for anything.
    Starting,
    /// It waits to lead.
    Follower,
    /// It leads.
    Leader,
    /// It ends.
    Stopping,
}

/// How the operator fares.
#[derive(Debug)]
pub struct Health {
    fields: Mutex<Fields>,
}

#[derive(Debug)]
struct Fields {
    standing: Standing,
    /// When each reconcile that runs began.
    running: BTreeMap<u64, Instant>,
    reconciles: u64,
}

/// A reconcile that runs, until this is dropped.
#[derive(Debug)]
pub struct Running {
    health: Arc<Health>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.health.fields.lock().running.remove(&self.number);
    }
}

impl Default for Health {
    fn default() -> Self {
        let fields = Fields { standing: Standing::Starting, running: BTreeMap::new(), reconciles: 0 };
        Self { fields: Mutex::new(fields) }
    }
}

impl Health {
    /// Says what this replica does now.
    pub fn set_standing(&self, standing: Standing) {
        self.fields.lock().standing = standing;
    }

    /// Says that a reconcile begins at `now`.
    #[must_use]
    pub fn reconciling(self: &Arc<Self>, now: Instant) -> Running {
        let mut fields = self.fields.lock();
        fields.reconciles += 1;
        let number = fields.reconciles;
        fields.running.insert(number, now);
        Running { health: self.clone(), number }
    }

    /// Whether the process works; starting it anew would help where it does not. An API that is away is no such case.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn live(&self, now: Instant) -> Result<&'static str, &'static str> {
        let fields = self.fields.lock();
        if fields.running.values().any(|began| now.duration_since(*began) > STUCK) {
            return Err("a reconcile hangs");
        }
        Ok("ok")
    }

    /// Whether the replica does what it is to do, leading or following. One that cannot reach the API does not lead for long.
    ///
    /// # Errors
    /// With what is missing.
    pub fn ready(&self) -> Result<&'static str, &'static str> {
        match self.fields.lock().standing {
            Standing::Starting => Err("starting"),
            Standing::Follower => Ok("following"),
            Standing::Leader => Ok("leading"),
            Standing::Stopping => Err("stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_that_hangs_is_not_live() {
        let (health, start) = (Arc::new(Health::default()), Instant::now());
        let first = health.reconciling(start);
        let second = health.reconciling(start + STUCK);
        assert_eq!(health.live(start + STUCK), Ok("ok"));
        assert!(health.live(start + STUCK * 3 / 2).is_err());
        drop(first);
        assert_eq!(health.live(start + STUCK * 3 / 2), Ok("ok"));
        assert!(health.live(start + STUCK * 3).is_err());
        drop(second);
        assert_eq!(health.live(start + STUCK * 3), Ok("ok"), "it is idle");
    }

    #[test]
    fn one_that_leads_or_follows_is_ready() {
        let health = Health::default();
        assert!(health.ready().is_err());
        health.set_standing(Standing::Follower);
        assert_eq!(health.ready(), Ok("following"));
        health.set_standing(Standing::Leader);
        assert_eq!(health.ready(), Ok("leading"));
        health.set_standing(Standing::Stopping);
        assert!(health.ready().is_err());
    }
}

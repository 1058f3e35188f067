//! Workers by role and degree.

use std::fmt;

use serde::Serialize;

/// What workers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Prefills that are sent to them.
    Prefill,
    /// Sessions' KV and all decoding.
    Decode,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        })
    }
}

/// The workers of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pool {
    /// How many.
    pub replicas: u32,
    /// Accelerators of each.
    pub degree: u32,
}

impl Pool {
    /// Accelerators of all.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        u64::from(self.replicas) * u64::from(self.degree)
    }
}

/// The workers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Deployment {
    /// The prefill workers; none is aggregated serving, and the degree is then the decode workers'.
    pub prefill: Pool,
    /// The decode workers.
    pub decode: Pool,
}

impl Deployment {
    /// Accelerators of all workers.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        self.prefill.gpus() + self.decode.gpus()
    }

    /// Workers of both roles.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.prefill.replicas.saturating_add(self.decode.replicas)
    }

    /// Whether every prefill is local.
    #[must_use]
    pub fn is_aggregated(&self) -> bool {
        self.prefill.replicas == 0
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefill, decode } = self;
        if self.is_aggregated() {
            return write!(f, "no prefill and {} decode workers of {}", decode.replicas, decode.degree);
        }
        write!(
            f,
            "{} prefill workers of {} and {} decode workers of {}",
            prefill.replicas, prefill.degree, decode.replicas, decode.degree
        )
    }
}

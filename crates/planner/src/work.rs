//! What sessions take of workers, and what workers serve by that.

use ampd_simulator::workload::Demand;

use crate::{Deployment, WorkerProfile};

/// A prefill among rows that decode takes so many times as long as in full steps of its own: it goes in small parts. Assumed;
/// it decides in which order deployments are simulated, and nothing else.
const LOCAL: f64 = 1.25;

/// What a mean session takes of a worker of a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    /// Accelerators of the worker.
    pub degree: u32,
    /// Seconds of prefills, in full steps.
    pub prefill_s: f64,
    /// Seconds of decoding, in steps with as many rows as the ITL objective and memory allow.
    pub decode_s: f64,
}

impl Work {
    /// That of a worker type, whose decode steps last `itl_s` seconds at most.
    pub(crate) fn of(profile: &WorkerProfile, demand: &Demand, itl_s: f64) -> Self {
        let engine = profile.cluster.engine;
        let memory = (profile.cluster.kv_tokens as f64 / demand.context().max(1.0)).floor();
        let most = f64::from(engine.max_running).min(memory).max(1.0);
        let rows = demand.rows(&profile.truth, itl_s, most);
        Self {
            degree: profile.theta,
            prefill_s: demand
                .prefill_s(&profile.truth, f64::from(engine.prefill_budget).max(1.0))
                .max(LEAST_S),
            decode_s: demand.decode_s(&profile.truth, rows).max(LEAST_S),
        }
    }
}

/// Less work than any session has: where there is none, as of rounds of a single token, it still can be divided by.
const LEAST_S: f64 = 1e-9;

/// Sessions a second that a deployment serves if work flows like a fluid: what prefill workers cannot take, decode workers
/// prefill beside their decoding, as the router has it. 0 where a degree is not known.
pub(crate) fn capacity(deployment: &Deployment, works: &[Work]) -> f64 {
    let find = |degree| works.iter().find(|work| work.degree == degree);
    let (Some(prefill), Some(decode)) = (find(deployment.prefill.degree), find(deployment.decode.degree))
    else {
        return 0.0;
    };
    let (p, d) = (f64::from(deployment.prefill.replicas), f64::from(deployment.decode.replicas));
    // With all prefill workers busy, decode workers have what is left of the prefills.
    let local_s = LOCAL * decode.prefill_s;
    let shared = (d + p * local_s / prefill.prefill_s) / (decode.decode_s + local_s);
    shared.min(d / decode.decode_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    const WORKS: [Work; 2] = [
        Work { degree: 2, prefill_s: 1.0, decode_s: 0.5 },
        Work { degree: 4, prefill_s: 0.5, decode_s: 0.25 },
    ];

    fn served(prefill: u32, decode: u32) -> f64 {
        let pool = |replicas, degree| Pool { replicas, degree };
        capacity(&Deployment { prefill: pool(prefill, 4), decode: pool(decode, 2) }, &WORKS)
    }

    #[test]
    fn decode_workers_take_what_prefill_workers_cannot() {
        // Without prefill workers each session takes 1.25 s of prefills and 0.5 s of decoding.
        assert!((served(0, 7) - 4.0).abs() < 1e-12);
        // A prefill worker takes 2 prefills a second from them.
        assert!((served(1, 7) - (7.0 + 2.5) / 1.75).abs() < 1e-12);
        // Decode workers bind at last.
        assert_eq!(served(100, 7), 14.0);
    }
}

//! A small deployment for tests.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_scheduler::Slo;
use ampd_simulator::Setup;
use ampd_simulator::cluster::{Cluster, Engine, Fault, Links, Policies};
use ampd_simulator::trace::Trace;
use ampd_simulator::truth::{Corrections, Truth};

/// A model in which a prefill takes `token_s` a token and nothing else takes any time to speak of.
pub fn exact_model(token_s: f64) -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: token_s, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 1e-9, k1: 0.0, k2: 0.0 }],
        transfer: Transfer { latency_s: 0.0, bytes_per_s: 1e18, bytes_per_token: 1.0 },
    }
}

/// A model of a worker as there are some.
pub fn model() -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.008, k1: 1.2e-4, k2: 4e-9 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.008, k1: 8e-5, k2: 2e-8 }],
        transfer: Transfer { latency_s: 1e-4, bytes_per_s: 25e9, bytes_per_token: 262_144.0 },
    }
}

/// All that a simulation is told.
pub struct Bench {
    pub cluster: Cluster,
    pub policies: Policies,
    pub truth: Truth,
    pub model: PerfModel,
    pub slo: Slo,
    pub trace: Trace,
    pub faults: Vec<Fault>,
    pub seed: u64,
    pub until_s: f64,
}

impl Bench {
    pub fn new(model: PerfModel, prefill_workers: u32, decode_workers: u32) -> Self {
        let transfer = model.transfer;
        Self {
            cluster: Cluster {
                cores: None,
                prefill_workers,
                decode_workers,
                workers_per_node: 2,
                kv_tokens: 1 << 40,
                block_tokens: 32,
                kv_bytes_per_token: transfer.bytes_per_token,
                layers: 64,
                max_context: 1 << 30,
                links: Links {
                    latency_s: transfer.latency_s,
                    between_bytes_per_s: transfer.bytes_per_s,
                    inside_bytes_per_s: transfer.bytes_per_s,
                },
                engine: Engine::default(),
                overhead_s: 0.0,
            },
            policies: Policies::ampd(),
            truth: Truth::from_model(model.clone(), Corrections::NONE).unwrap(),
            model,
            slo: Slo { ttft_s: 1.0, itl_s: 0.05 },
            trace: Trace::default(),
            faults: Vec::new(),
            seed: 1,
            until_s: 1e9,
        }
    }

    pub fn setup(&self) -> Setup<'_> {
        Setup {
            cluster: &self.cluster,
            policies: &self.policies,
            truth: &self.truth,
            model: &self.model,
            prefill: None,
            slo: self.slo,
            trace: &self.trace,
            faults: &self.faults,
            seed: self.seed,
            until_s: self.until_s,
        }
    }
}

/// A number in 0..1 from another, without any order to be seen.
pub fn scatter(n: u64) -> f64 {
    let mut hash = n.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

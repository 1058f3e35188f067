//! The performance model of a worker that brings no profile.

use ampd_engine::backend::KvShape;
use ampd_engine::model::ModelConfig;
use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};

/// Multiply-adds per second and thread in a prompt's matrix products.
const PREFILL_RATE: f64 = 2e10;
/// Multiply-adds per second and thread in attention.
const ATTENTION_RATE: f64 = 5e9;
/// Weights read per second, all threads together: decoding reads all of them for each step.
const WEIGHTS_RATE: f64 = 5e9;
/// Seconds of a step whatever it computes.
const STEP_S: f64 = 5e-4;
/// KV transfer: a fast local network.
const TRANSFER_LATENCY_S: f64 = 3e-3;
const TRANSFER_BYTES_PER_S: f64 = 5e8;

/// A coarse guess from the model's shape and the number of threads. Calibration while the worker runs corrects its
/// level; its form, which is what decisions compare, is that of any decoder.
pub(crate) fn guess(config: &ModelConfig, shape: KvShape, threads: usize) -> PerfModel {
    let query = (config.heads * config.head_dim) as f64;
    let kv = (config.kv_heads * config.head_dim) as f64;
    let (hidden, layers) = (config.hidden as f64, config.layers as f64);
    let layer = hidden * (2.0 * query + 2.0 * kv) + 3.0 * hidden * config.intermediate as f64;
    let body = layers * layer;
    let head = hidden * config.vocab as f64;
    let threads = threads.max(1) as f64;
    // Scores and their use: two multiply-adds for each pair and element of all query heads.
    let pair_s = 2.0 * layers * query / (ATTENTION_RATE * threads);
    PerfModel {
        prefill: vec![PrefillSegment {
            max_increment: u64::MAX,
            k0: STEP_S,
            k1: body / (PREFILL_RATE * threads),
            k2: pair_s,
        }],
        decode: vec![DecodeSegment {
            max_batch: u64::MAX,
            k0: STEP_S + (body + head) / WEIGHTS_RATE,
            k1: (body + head) / (PREFILL_RATE * threads),
            k2: pair_s,
        }],
        transfer: Transfer {
            latency_s: TRANSFER_LATENCY_S,
            bytes_per_s: TRANSFER_BYTES_PER_S,
            bytes_per_token: shape.token_bytes() as f64,
        },
    }
}

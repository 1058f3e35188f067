//! Worker types that step times are known of.

use ampd_perfmodel::{PerfModel, Points, TransferPoint};

use super::EvaluateError;
use crate::cluster::{Cluster, Engine, Links};
use crate::truth::{Corrections, PointsError, Truth, read_points};

/// Accelerators of a node.
const NODE: u32 = 8;

/// A model on a worker type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// Model, accelerator and parallel degree.
    pub name: &'static str,
    /// Accelerators of a worker.
    pub theta: u32,
    /// KV memory of a worker, tokens: nine tenths of its memory less the weights.
    pub kv_tokens: u64,
    /// KV bytes of a token, BF16, all layers.
    pub kv_bytes_per_token: f64,
    /// Layers.
    pub layers: u32,
    /// The model's context, tokens.
    pub max_context: u64,
    points: &'static str,
}

impl Card {
    /// The measured points.
    ///
    /// # Errors
    /// When the table cannot be read, which its test rules out.
    pub fn points(&self) -> Result<Points, PointsError> {
        read_points(self.points)
    }

    /// How long its steps take.
    ///
    /// # Errors
    /// When the table cannot be read or is none, which its test rules out.
    pub fn truth(&self) -> Result<Truth, EvaluateError> {
        Ok(Truth::from_points(&self.points()?, Corrections::ENGINE)?)
    }

    /// What a profiler tells that has measured it once, always the same.
    ///
    /// # Errors
    /// When no model can be fitted, which its test rules out.
    pub fn profile(&self, truth: &Truth) -> Result<PerfModel, EvaluateError> {
        let (bytes, links) = (self.kv_bytes_per_token, Links::NODE);
        let transfer = |tokens: u64| TransferPoint {
            tokens,
            seconds: links.latency_s + tokens as f64 * bytes / links.between_bytes_per_s,
        };
        Ok(truth.profile([transfer(64), transfer(65_536)], bytes, 7)?)
    }

    /// A deployment of such workers, with the defaults of an engine, on nodes of eight accelerators.
    #[must_use]
    pub fn cluster(&self, prefill_workers: u32, decode_workers: u32) -> Cluster {
        Cluster {
            prefill_workers,
            decode_workers,
            workers_per_node: (NODE / self.theta).max(1),
            kv_tokens: self.kv_tokens,
            block_tokens: 32,
            kv_bytes_per_token: self.kv_bytes_per_token,
            layers: self.layers,
            max_context: self.max_context,
            links: Links::NODE,
            engine: Engine::default(),
            cores: None,
            overhead_s: Cluster::OVERHEAD_S,
        }
    }
}

/// All of them. Memory by arithmetic: 96 GB an H20, 80 GB an H100; 65.5 GB of weights (Qwen3-32B), 141 GB (Llama-3.1-70B)
/// and 93.4 GB (Mixtral-8x7B). The context of Qwen3-32B is the one with `YaRN`.
pub const CARDS: [Card; 6] = [
    Card {
        name: "qwen3-32b/h20/tp4",
        theta: 4,
        kv_tokens: 1_070_000,
        kv_bytes_per_token: 262_144.0,
        layers: 64,
        max_context: 131_072,
        points: include_str!("../../data/h20_qwen3_32b_tp4.csv"),
    },
    Card {
        name: "qwen3-32b/h20/tp2",
        theta: 2,
        kv_tokens: 410_000,
        kv_bytes_per_token: 262_144.0,
        layers: 64,
        max_context: 131_072,
        points: include_str!("../../data/h20_qwen3_32b_tp2.csv"),
    },
    Card {
        name: "llama-3.1-70b/h20/tp4",
        theta: 4,
        kv_tokens: 624_000,
        kv_bytes_per_token: 327_680.0,
        layers: 80,
        max_context: 131_072,
        points: include_str!("../../data/h20_llama31_70b_tp4.csv"),
    },
    Card {
        name: "mixtral-8x7b/h20/tp4",
        theta: 4,
        kv_tokens: 1_900_000,
        kv_bytes_per_token: 131_072.0,
        layers: 32,
        max_context: 32_768,
        points: include_str!("../../data/h20_mixtral_8x7b_tp4.csv"),
    },
    Card {
        name: "mixtral-8x7b/h20/tp2",
        theta: 2,
        kv_tokens: 605_000,
        kv_bytes_per_token: 131_072.0,
        layers: 32,
        max_context: 32_768,
        points: include_str!("../../data/h20_mixtral_8x7b_tp2.csv"),
    },
    Card {
        name: "qwen3-32b/h100/tp4",
        theta: 4,
        kv_tokens: 849_000,
        kv_bytes_per_token: 262_144.0,
        layers: 64,
        max_context: 131_072,
        points: include_str!("../../data/h100_qwen3_32b_tp4.csv"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_gives_a_truth() {
        for card in CARDS {
            let truth = card.truth().unwrap();
            assert!(card.profile(&truth).is_ok());
            let one = truth.decode_s(1.0, 1024.0);
            assert!(one > 0.002 && one < truth.decode_s(128.0, 1024.0), "{}", card.name);
            assert!(truth.prefill_s(512.0, 512.0 * 256.0) < truth.prefill_s(4096.0, 4096.0 * 2048.0));
        }
    }
}

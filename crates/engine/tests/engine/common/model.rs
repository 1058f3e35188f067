//! A tiny random Llama in memory.

use ampd_engine::model::{FeedForward, LayerWeights, Matrix, MatrixData, Model, ModelConfig, Weights};
use candle_core::{DType, Device, Tensor};

/// Random numbers in [-1, 1), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn vector(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| 1.0 + 0.2 * self.next()).collect()
    }

    /// Values whose products with a normalised vector are about `scale` large.
    fn matrix(&mut self, rows: usize, columns: usize, scale: f32) -> Matrix {
        let scale = scale * (3.0 / columns as f32).sqrt();
        let values: Vec<f32> = (0..rows * columns).map(|_| scale * self.next()).collect();
        let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        Matrix { rows, columns, data: MatrixData::Dense(tensor.to_dtype(DType::BF16).unwrap()) }
    }
}

/// A model of this shape whose outputs vary with every token of the prompt.
pub fn random(config: &ModelConfig) -> Model {
    let mut random = Random(7);
    let (hidden, heads) = (config.hidden, config.heads * config.head_dim);
    let kv = config.kv_heads * config.head_dim;
    let mut layer = || LayerWeights {
        attention_norm: random.vector(hidden),
        q: random.matrix(heads, hidden, 1.5),
        k: random.matrix(kv, hidden, 1.5),
        v: random.matrix(kv, hidden, 2.0),
        o: random.matrix(hidden, heads, 1.0),
        q_bias: None,
        k_bias: None,
        v_bias: None,
        q_norm: None,
        k_norm: None,
        ffn_norm: random.vector(hidden),
        ffn: FeedForward::Dense {
            gate: random.matrix(config.intermediate, hidden, 1.0),
            up: random.matrix(config.intermediate, hidden, 1.0),
            down: random.matrix(hidden, config.intermediate, 1.0),
        },
    };
    let layers = (0..config.layers).map(|_| layer()).collect();
    let weights = Weights {
        embedding: random.matrix(config.vocab, hidden, 4.0),
        layers,
        norm: random.vector(hidden),
        output: Some(random.matrix(config.vocab, hidden, 2.0)),
    };
    Model { config: config.clone(), weights, digest: [0; 32] }
}

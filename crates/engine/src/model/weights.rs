//! A decoder's weights, and how the loaders put them together.

use std::path::Path;

use super::{Architecture, Matrix, ModelConfig, ModelError};

/// All weights of a decoder.
#[derive(Debug)]
pub struct Weights {
    /// Token embedding `[vocab, hidden]`.
    pub embedding: Matrix,
    /// The layers.
    pub layers: Vec<LayerWeights>,
    /// Final RMS norm.
    pub norm: Vec<f32>,
    /// Output head `[vocab, hidden]`; `None` when the embedding serves as one.
    pub output: Option<Matrix>,
}

/// One layer's weights.
#[derive(Debug)]
pub struct LayerWeights {
    /// RMS norm before attention.
    pub attention_norm: Vec<f32>,
    /// Query projection.
    pub q: Matrix,
    /// Key projection.
    pub k: Matrix,
    /// Value projection.
    pub v: Matrix,
    /// Output projection.
    pub o: Matrix,
    /// Bias of the query projection.
    pub q_bias: Option<Vec<f32>>,
    /// Bias of the key projection.
    pub k_bias: Option<Vec<f32>>,
    /// Bias of the value projection.
    pub v_bias: Option<Vec<f32>>,
    /// RMS norm of each query head.
    pub q_norm: Option<Vec<f32>>,
    /// RMS norm of each key head.
    pub k_norm: Option<Vec<f32>>,
    /// RMS norm before the feed-forward layer.
    pub ffn_norm: Vec<f32>,
    /// The feed-forward layer.
    pub ffn: FeedForward,
}

/// A feed-forward layer. Mixture-of-experts layers will be a second variant.
#[derive(Debug)]
pub enum FeedForward {
    /// `down(silu(gate(x)) * up(x))`.
    Dense {
        /// Gate projection.
        gate: Matrix,
        /// Up projection.
        up: Matrix,
        /// Down projection.
        down: Matrix,
    },
}

/// Where a loader finds the weights of one layer's parts: both file formats hold the same parts under other names.
pub(super) trait Source {
    /// The file or folder, for errors.
    fn path(&self) -> &Path;
    /// The file's name of a part of layer `layer`.
    fn layer_name(&self, layer: usize, part: Part) -> String;
    /// The file's name of a part outside the layers.
    fn name(&self, part: Part) -> String;
    /// A tensor of some layer that nobody has read.
    fn unread(&self) -> Option<&str>;
    /// Reads a matrix of the given shape.
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError>;
    /// Reads a vector of the given length as f32.
    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError>;
}

/// The parts of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Embedding,
    Norm,
    Output,
    AttentionNorm,
    Q,
    K,
    V,
    O,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    FfnNorm,
    Gate,
    Up,
    Down,
}

impl Weights {
    /// Reads every part that `config` asks for from `source`; `tied` says that there is no output head of its own.
    pub(super) fn read(
        source: &mut impl Source,
        config: &ModelConfig,
        tied: bool,
    ) -> Result<Self, ModelError> {
        let name = source.name(Part::Embedding);
        let embedding = source.matrix(&name, config.vocab, config.hidden)?;
        let layers =
            (0..config.layers).map(|layer| read_layer(source, config, layer)).collect::<Result<_, _>>()?;
        let name = source.name(Part::Norm);
        let norm = source.vector(&name, config.hidden)?;
        let name = source.name(Part::Output);
        let output = if tied { None } else { Some(source.matrix(&name, config.vocab, config.hidden)?) };
        // A part that this decoder does not know would silently change what the model says.
        if let Some(name) = source.unread() {
            return Err(ModelError::tensor(source.path(), name, "is not known in this architecture"));
        }
        Ok(Self { embedding, layers, norm, output })
    }
}

fn read_layer(source: &mut impl Source, c: &ModelConfig, layer: usize) -> Result<LayerWeights, ModelError> {
    let (q_rows, kv_rows) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let (bias, qk_norm) = (c.architecture == Architecture::Qwen2, c.architecture == Architecture::Qwen3);
    let mut matrix = |part, rows, columns| {
        let name = source.layer_name(layer, part);
        source.matrix(&name, rows, columns)
    };
    let q = matrix(Part::Q, q_rows, c.hidden)?;
    let k = matrix(Part::K, kv_rows, c.hidden)?;
    let v = matrix(Part::V, kv_rows, c.hidden)?;
    let o = matrix(Part::O, c.hidden, q_rows)?;
    let gate = matrix(Part::Gate, c.intermediate, c.hidden)?;
    let up = matrix(Part::Up, c.intermediate, c.hidden)?;
    let down = matrix(Part::Down, c.hidden, c.intermediate)?;
    let mut vector = |part, length| {
        let name = source.layer_name(layer, part);
        source.vector(&name, length)
    };
    let mut optional = |wanted: bool, part, length| wanted.then(|| vector(part, length)).transpose();
    let q_bias = optional(bias, Part::QBias, q_rows)?;
    let k_bias = optional(bias, Part::KBias, kv_rows)?;
    let v_bias = optional(bias, Part::VBias, kv_rows)?;
    let q_norm = optional(qk_norm, Part::QNorm, c.head_dim)?;
    let k_norm = optional(qk_norm, Part::KNorm, c.head_dim)?;
    let attention_norm = vector(Part::AttentionNorm, c.hidden)?;
    let ffn_norm = vector(Part::FfnNorm, c.hidden)?;
    let ffn = FeedForward::Dense { gate, up, down };
    Ok(LayerWeights { attention_norm, q, k, v, o, q_bias, k_bias, v_bias, q_norm, k_norm, ffn_norm, ffn })
}

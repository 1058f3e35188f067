//! GGUF files of the architectures `llama`, `qwen2` and `qwen3`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, Value};

use super::digest::Digest;
use super::weights::{Part, Source};
use super::{Architecture, Matrix, MatrixData, Model, ModelConfig, ModelError, Rope, RopeScaling, Weights};

/// Loads a GGUF file.
pub(super) fn load(path: &Path) -> Result<Model, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    let mut reader = BufReader::new(file);
    let content = Content::read(&mut reader).map_err(|source| ModelError::damaged(path, source))?;
    let mut source = Gguf { path: path.into(), content, reader, digest: Digest::new() };
    let config = read_config(&mut source)?;
    config.check().map_err(|(field, what)| ModelError::field(path, field, what))?;
    let tied = !source.has("output.weight");
    let weights = Weights::read(&mut source, &config, tied)?;
    let digest = source.digest.finish(&config);
    Ok(Model { config, weights, digest })
}

struct Gguf {
    path: PathBuf,
    content: Content,
    reader: BufReader<File>,
    digest: Digest,
}

impl Gguf {
    fn field<T>(&self, key: &str, read: impl Fn(&Value) -> candle_core::Result<T>) -> Result<T, ModelError> {
        self.optional(key, read)?.ok_or_else(|| ModelError::field(&self.path, key, "is missing"))
    }

    fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&Value) -> candle_core::Result<T>,
    ) -> Result<Option<T>, ModelError> {
        let value = self.content.metadata.get(key);
        value
            .map(|value| read(value).map_err(|error| ModelError::field(&self.path, key, error.to_string())))
            .transpose()
    }

    fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        let info = self.content.tensor_infos.get(name);
        info.map(|info| info.shape.dims()).ok_or_else(|| ModelError::tensor(&self.path, name, "is missing"))
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<QTensor, ModelError> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(ModelError::tensor(
                &self.path,
                name,
                format!("has shape {found:?}, expected {shape:?}"),
            ));
        }
        let tensor = self
            .content
            .tensor(&mut self.reader, name, &Device::Cpu)
            .map_err(|error| ModelError::tensor(&self.path, name, format!("cannot be read: {error}")))?;
        let data = tensor.data().map_err(|source| ModelError::damaged(&self.path, source))?;
        self.digest.tensor(name, &data);
        drop(data);
        Ok(tensor)
    }
}

impl Source for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn layer_name(&self, layer: usize, part: Part) -> String {
        format!("blk.{layer}.{}", self.name(part))
    }

    fn name(&self, part: Part) -> String {
        match part {
            Part::Embedding => "token_embd.weight",
            Part::Norm => "output_norm.weight",
            Part::Output => "output.weight",
            Part::AttentionNorm => "attn_norm.weight",
            Part::Q => "attn_q.weight",
            Part::K => "attn_k.weight",
            Part::V => "attn_v.weight",
            Part::O => "attn_output.weight",
            Part::QBias => "attn_q.bias",
            Part::KBias => "attn_k.bias",
            Part::VBias => "attn_v.bias",
            Part::QNorm => "attn_q_norm.weight",
            Part::KNorm => "attn_k_norm.weight",
            Part::FfnNorm => "ffn_norm.weight",
            Part::Gate => "ffn_gate.weight",
            Part::Up => "ffn_up.weight",
            Part::Down => "ffn_down.weight",
        }
        .to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        let tensor = self.read(name, &[rows, columns])?;
        Ok(Matrix { rows, columns, data: MatrixData::Quantized(Arc::new(tensor)) })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.read(name, &[length])?;
        let values = tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.to_vec1());
        values.map_err(|error| ModelError::tensor(&self.path, name, format!("cannot be decoded: {error}")))
    }
}

fn read_config(source: &mut Gguf) -> Result<ModelConfig, ModelError> {
    let name = source.field("general.architecture", |value| value.to_string().cloned())?;
    let architecture = match name.as_str() {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        other => {
            let what = format!("architecture {other:?} (supported: llama, qwen2, qwen3)");
            return Err(ModelError::Unsupported { path: source.path.clone(), what });
        }
    };
    if source.content.metadata.contains_key(&format!("{name}.expert_count")) {
        let what = "a mixture-of-experts model".to_owned();
        return Err(ModelError::Unsupported { path: source.path.clone(), what });
    }
    let key = |suffix: &str| format!("{name}.{suffix}");
    let size = |suffix: &str| source.field(&key(suffix), unsigned);
    let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = match source.optional(&key("attention.key_length"), unsigned)? {
        Some(length) => length,
        None => hidden.checked_div(heads).unwrap_or(0),
    };
    let vocab = source.shape("token_embd.weight")?.first().copied().unwrap_or(0);
    let rope = Rope {
        theta: source.optional(&key("rope.freq_base"), float)?.unwrap_or(10_000.0),
        scaling: read_scaling(source, &name)?,
        interleaved: architecture == Architecture::Llama,
        factors: None,
    };
    let mut config = ModelConfig {
        architecture,
        layers: size("block_count")?,
        hidden,
        intermediate: size("feed_forward_length")?,
        heads,
        kv_heads: source.optional(&key("attention.head_count_kv"), unsigned)?.unwrap_or(heads),
        head_dim,
        vocab,
        max_context: size("context_length")?,
        rms_eps: source.field(&key("attention.layer_norm_rms_epsilon"), float)?,
        rope,
        bos: source.optional("tokenizer.ggml.bos_token_id", Value::to_u32)?,
        eos: eos(source)?,
    };
    if source.has("rope_freqs.weight") && head_dim <= 1 << 12 {
        config.rope.factors = Some(source.vector("rope_freqs.weight", head_dim / 2)?);
    }
    Ok(config)
}

/// End of sequence, and end of turn where the file names one apart.
fn eos(source: &Gguf) -> Result<Vec<u32>, ModelError> {
    let mut eos = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        eos.extend(source.optional(key, Value::to_u32)?);
    }
    eos.dedup();
    Ok(eos)
}

fn read_scaling(source: &Gguf, name: &str) -> Result<RopeScaling, ModelError> {
    let kind = source.optional(&format!("{name}.rope.scaling.type"), |value| value.to_string().cloned())?;
    match kind.as_deref() {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => {
            Ok(RopeScaling::Linear { factor: source.field(&format!("{name}.rope.scaling.factor"), float)? })
        }
        Some(other) => {
            let what = format!("rope scaling {other:?}");
            Err(ModelError::Unsupported { path: source.path.clone(), what })
        }
    }
}

/// Integers are written in whatever width the exporter liked.
fn unsigned(value: &Value) -> candle_core::Result<usize> {
    value.to_u64().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

fn float(value: &Value) -> candle_core::Result<f32> {
    value.to_f32().or_else(|_| value.to_f64().map(|number| number as f32))
}

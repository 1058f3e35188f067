//! Writes a tiny model as a GGUF file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::tokenizer::{CHAT_TEMPLATE, SPECIAL, merges, vocabulary};
use super::{Family, HEADS, KV_HEADS, RMS_EPS, SCALING, THETA, TinyModel};

/// GGUF's token types.
const NORMAL_TOKEN: i32 = 1;
const CONTROL_TOKEN: i32 = 3;

impl TinyModel {
    /// Writes the model to `path` with matrices of type `dtype`, and vectors in f32.
    ///
    /// # Errors
    /// When the file cannot be written, or `dtype` does not divide the model's widths.
    pub fn write_gguf(&self, path: &Path, dtype: GgmlDType) -> anyhow::Result<()> {
        write_gguf(path, &self.gguf_fields(), &self.gguf_tensors(dtype)?)
    }

    /// The file's metadata.
    #[must_use]
    pub fn gguf_fields(&self) -> Vec<(String, Value)> {
        let architecture = match self.family {
            Family::Llama | Family::Mistral => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        };
        let text = |value: &str| Value::String(value.to_owned());
        let size = |value: usize| Value::U32(value as u32);
        let vocabulary = vocabulary();
        let kinds = (0..vocabulary.len())
            .map(|id| Value::I32(if id < SPECIAL.len() { CONTROL_TOKEN } else { NORMAL_TOKEN }));
        let texts = |values: Vec<String>| Value::Array(values.into_iter().map(Value::String).collect());
        let own = [
            ("block_count", size(self.layers)),
            ("context_length", size(self.context)),
            ("embedding_length", size(self.hidden)),
            ("feed_forward_length", size(self.intermediate())),
            ("attention.head_count", size(HEADS)),
            ("attention.head_count_kv", size(KV_HEADS)),
            ("attention.key_length", size(self.head_dim())),
            ("attention.value_length", size(self.head_dim())),
            ("attention.layer_norm_rms_epsilon", Value::F32(RMS_EPS)),
            ("rope.dimension_count", size(self.head_dim())),
            ("rope.freq_base", Value::F32(THETA)),
        ];
        let common = [
            ("general.architecture", text(architecture)),
            ("general.name", text("tiny")),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            ("tokenizer.ggml.token_type", Value::Array(kinds.collect())),
            ("tokenizer.ggml.tokens", texts(vocabulary)),
            ("tokenizer.ggml.merges", texts(merges())),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
        ];
        let own = own.into_iter().map(|(name, value)| (format!("{architecture}.{name}"), value));
        common.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
    }

    /// The file's tensors.
    ///
    /// # Errors
    /// When `dtype` does not divide the model's widths.
    pub fn gguf_tensors(&self, dtype: GgmlDType) -> anyhow::Result<Vec<(String, QTensor)>> {
        let mut tensors = Vec::new();
        let interleaved = matches!(self.family, Family::Llama | Family::Mistral);
        for named in self.tensors()? {
            let values = match named.rotated_heads {
                Some(heads) if interleaved => interleave(&named.values, heads)?,
                _ => named.values,
            };
            let dtype = if values.rank() == 1 { GgmlDType::F32 } else { dtype };
            tensors.push((named.gguf, QTensor::quantize(&values, dtype)?));
        }
        if self.family == Family::Llama {
            let factors = Tensor::new(self.rope_factors(), &Device::Cpu)?;
            tensors.push(("rope_freqs.weight".to_owned(), QTensor::quantize(&factors, GgmlDType::F32)?));
        }
        Ok(tensors)
    }

    /// The divisors of the rotary frequencies that Llama 3's rule amounts to.
    fn rope_factors(&self) -> Vec<f32> {
        let divisor = |pair: usize| {
            let exponent = 2.0 * pair as f32 / self.head_dim() as f32;
            let wavelength = 2.0 * std::f32::consts::PI * THETA.powf(exponent);
            let turns = SCALING.original_context as f32 / wavelength;
            let (low, high) = (SCALING.low_freq_factor, SCALING.high_freq_factor);
            let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - blend) / SCALING.factor + blend)
        };
        (0..self.head_dim() / 2).map(divisor).collect()
    }
}

/// Writes a GGUF file of the given content.
///
/// # Errors
/// When it cannot be written.
pub fn write_gguf(
    path: &Path,
    fields: &[(String, Value)],
    tensors: &[(String, QTensor)],
) -> anyhow::Result<()> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = BufWriter::new(File::create(path)?);
    gguf_file::write(&mut file, &fields, &tensors)?;
    std::io::Write::flush(&mut file)?;
    Ok(())
}

/// Brings the rows of each head from halves apart (`i`, `i + d/2`) to neighbours (`2i`, `2i + 1`).
fn interleave(values: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = values.dims2()?;
    let halves = values.reshape((heads, 2, rows / heads / 2, columns))?;
    halves.transpose(1, 2)?.contiguous()?.reshape((rows, columns))
}

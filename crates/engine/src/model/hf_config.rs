//! `config.json` of Hugging Face folders.

use std::path::Path;

use serde::Deserialize;

use super::{Architecture, ModelConfig, ModelError, Rope, RopeScaling};

/// The fields that decoders need; others are of no concern here.
#[derive(Debug, Deserialize)]
struct RawConfig {
    architectures: Vec<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
    hidden_act: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The fields of `generation_config.json` that override those of `config.json`.
#[derive(Debug, Deserialize)]
struct RawGeneration {
    eos_token_id: Option<OneOrMany>,
}

/// Reads the configuration of `folder`; the flag says whether the embedding serves as output head.
pub(super) fn read(folder: &Path) -> Result<(ModelConfig, bool), ModelError> {
    let path = folder.join("config.json");
    let text =
        std::fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
    let raw: RawConfig = serde_json::from_str(&text).map_err(|source| ModelError::damaged(&path, source))?;
    let unsupported = |what: String| ModelError::Unsupported { path: path.clone(), what };
    let architecture = match raw.architectures.first().map(String::as_str) {
        Some("LlamaForCausalLM") => Architecture::Llama,
        Some("MistralForCausalLM") => Architecture::Mistral,
        Some("Qwen2ForCausalLM") => Architecture::Qwen2,
        Some("Qwen3ForCausalLM") => Architecture::Qwen3,
        other => return Err(unsupported(format!("architecture {:?}", other.unwrap_or_default()))),
    };
    if raw.attention_bias && architecture != Architecture::Qwen2 || raw.mlp_bias {
        return Err(unsupported("attention_bias or mlp_bias".into()));
    }
    if !matches!(raw.hidden_act.as_deref(), None | Some("silu")) {
        return Err(unsupported(format!("hidden_act {:?}", raw.hidden_act.unwrap_or_default())));
    }
    // Within the window, windowed attention is full attention: a shorter context needs nothing more.
    let window = raw
        .sliding_window
        .filter(|_| raw.use_sliding_window.unwrap_or(architecture == Architecture::Mistral));
    let config = ModelConfig {
        architecture,
        layers: raw.num_hidden_layers,
        hidden: raw.hidden_size,
        intermediate: raw.intermediate_size,
        heads: raw.num_attention_heads,
        kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
        head_dim: raw.head_dim.or(raw.hidden_size.checked_div(raw.num_attention_heads)).unwrap_or(0),
        vocab: raw.vocab_size,
        max_context: raw.max_position_embeddings.min(window.unwrap_or(usize::MAX)),
        rms_eps: raw.rms_norm_eps as f32,
        rope: rope(&raw, &path)?,
        bos: raw.bos_token_id,
        eos: eos(folder, raw.eos_token_id)?,
    };
    config.check().map_err(|(field, what)| ModelError::field(&path, field, what))?;
    Ok((config, raw.tie_word_embeddings))
}

fn rope(raw: &RawConfig, path: &Path) -> Result<Rope, ModelError> {
    let parameters = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
    let theta = raw.rope_theta.or(parameters.and_then(|p| p.rope_theta)).unwrap_or(10_000.0) as f32;
    let need = |value: Option<f64>, field: &str| {
        let number = value.filter(|number| number.is_finite() && *number > 0.0).map(|number| number as f32);
        number.ok_or_else(|| {
            ModelError::field(path, &format!("rope_scaling.{field}"), "must be a positive number")
        })
    };
    let scaling = match parameters.map(|p| (p, p.rope_type.as_deref().unwrap_or("default"))) {
        None | Some((_, "default")) => RopeScaling::None,
        Some((p, "linear")) => RopeScaling::Linear { factor: need(p.factor, "factor")? },
        Some((p, "llama3")) => RopeScaling::Llama3 {
            factor: need(p.factor, "factor")?,
            low_freq_factor: need(p.low_freq_factor, "low_freq_factor")?,
            high_freq_factor: need(p.high_freq_factor, "high_freq_factor")?,
            original_context: p.original_max_position_embeddings.ok_or_else(|| {
                ModelError::field(path, "rope_scaling.original_max_position_embeddings", "is missing")
            })?,
        },
        Some((_, other)) => {
            let what = format!("rope scaling {other:?}");
            return Err(ModelError::Unsupported { path: path.into(), what });
        }
    };
    Ok(Rope { theta, scaling, interleaved: false, factors: None })
}

fn eos(folder: &Path, from_config: Option<OneOrMany>) -> Result<Vec<u32>, ModelError> {
    let path = folder.join("generation_config.json");
    let from_generation = match std::fs::read_to_string(&path) {
        Ok(text) => {
            let raw: RawGeneration =
                serde_json::from_str(&text).map_err(|source| ModelError::damaged(&path, source))?;
            raw.eos_token_id
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(ModelError::Read { path, source }),
    };
    Ok(from_generation.or(from_config).map(OneOrMany::into_vec).unwrap_or_default())
}

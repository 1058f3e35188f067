//! A model's shape from `config.json` and `generation_config.json`.

use std::path::Path;

use super::json::Fields;
use crate::model::{Architecture, ModelConfig, ModelError, Rope, RopeScaling};

/// Reads the configuration of `folder`; the flag says whether the embedding serves as output head.
pub(super) fn read(folder: &Path) -> Result<(ModelConfig, bool), ModelError> {
    let raw = Fields::read(&folder.join("config.json"))?;
    let architecture = architecture(&raw)?;
    refuse_unsupported(&raw, architecture)?;
    let (hidden, heads) = (raw.size("hidden_size")?, raw.size("num_attention_heads")?);
    let config = ModelConfig {
        architecture,
        layers: raw.size("num_hidden_layers")?,
        hidden,
        intermediate: raw.size("intermediate_size")?,
        heads,
        kv_heads: raw.optional_size("num_key_value_heads")?.unwrap_or(heads),
        head_dim: raw.optional_size("head_dim")?.or(hidden.checked_div(heads)).unwrap_or(0),
        vocab: raw.size("vocab_size")?,
        max_context: raw.size("max_position_embeddings")?,
        rms_eps: raw.positive("rms_norm_eps")?,
        rope: rope(&raw)?,
        bos: raw.tokens("bos_token_id")?.and_then(|ids| ids.first().copied()),
        eos: eos(folder, &raw)?,
    };
    config.check().map_err(|(field, what)| ModelError::field(raw.path(), field, what))?;
    Ok((config, raw.flag("tie_word_embeddings")?))
}

fn architecture(raw: &Fields) -> Result<Architecture, ModelError> {
    let names = raw.texts("architectures")?.unwrap_or_default();
    let name = names.first().ok_or_else(|| raw.error("architectures", "names none"))?;
    Ok(match name.as_str() {
        "LlamaForCausalLM" => Architecture::Llama,
        "MistralForCausalLM" => Architecture::Mistral,
        "Qwen2ForCausalLM" => Architecture::Qwen2,
        "Qwen3ForCausalLM" => Architecture::Qwen3,
        other if other.contains("Moe") || other.contains("Mixtral") => {
            return Err(raw.unsupported("architectures", &format!("a mixture-of-experts model, {other},")));
        }
        other => return Err(raw.unsupported("architectures", &format!("architecture {other}"))),
    })
}

/// Fields that would change what the layers compute.
fn refuse_unsupported(raw: &Fields, architecture: Architecture) -> Result<(), ModelError> {
    for field in ["num_local_experts", "num_experts", "n_routed_experts"] {
        if raw.optional_size(field)?.unwrap_or(0) > 0 {
            return Err(raw.unsupported(field, "a mixture-of-experts model"));
        }
    }
    if raw.flag("attention_bias")? && architecture != Architecture::Qwen2 {
        return Err(raw.unsupported("attention_bias", "a bias on attention projections"));
    }
    if raw.flag("mlp_bias")? {
        return Err(raw.unsupported("mlp_bias", "a bias on feed-forward projections"));
    }
    if let Some(activation) = raw.text("hidden_act")?.filter(|name| name != "silu") {
        return Err(raw.unsupported("hidden_act", &format!("activation {activation:?}")));
    }
    if let Some(quantization) = raw.object("quantization_config")? {
        let method = quantization.text("quant_method")?.unwrap_or_else(|| "unknown".into());
        return Err(raw.unsupported("quantization_config", &format!("quantisation {method:?}")));
    }
    if raw.optional_number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(raw.unsupported("partial_rotary_factor", "rotation of a part of each head"));
    }
    // Within the window, windowed attention is full attention. Qwen's files name a window and switch it off.
    let context = raw.size("max_position_embeddings")?;
    let switch = raw.optional("use_sliding_window", "a truth value", serde_json::Value::as_bool)?;
    let window = raw.optional_size("sliding_window")?;
    if switch.unwrap_or(architecture == Architecture::Mistral)
        && let Some(window) = window.filter(|window| *window < context)
    {
        let what = format!("a sliding window of {window} tokens below the context of {context}");
        return Err(raw.unsupported("sliding_window", &what));
    }
    Ok(())
}

/// Rotary parameters: `rope_parameters` in newer files, `rope_theta` and `rope_scaling` in older ones.
fn rope(raw: &Fields) -> Result<Rope, ModelError> {
    let scaling = raw.object("rope_parameters")?.or(raw.object("rope_scaling")?);
    let inner = scaling.as_ref().map(|scaling| scaling.optional_number("rope_theta")).transpose()?.flatten();
    let theta = raw.optional_number("rope_theta")?.or(inner).unwrap_or(10_000.0);
    let scaling = match scaling {
        Some(scaling) => rope_scaling(&scaling)?,
        None => RopeScaling::None,
    };
    Ok(Rope { theta, scaling, interleaved: false, factors: None })
}

fn rope_scaling(raw: &Fields) -> Result<RopeScaling, ModelError> {
    let kind = raw.text("rope_type")?.or(raw.text("type")?);
    Ok(match kind.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: raw.positive("factor")? },
        Some("llama3") => {
            let (low, high) = (raw.positive("low_freq_factor")?, raw.positive("high_freq_factor")?);
            if low >= high {
                return Err(raw.error("high_freq_factor", format!("is {high}, low_freq_factor is {low}")));
            }
            RopeScaling::Llama3 {
                factor: raw.positive("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: raw.size("original_max_position_embeddings")?,
            }
        }
        Some(other) => return Err(raw.unsupported("rope_type", &format!("rope scaling {other:?}"))),
    })
}

/// `generation_config.json` overrides `config.json`: chat models name their end of turn there.
fn eos(folder: &Path, raw: &Fields) -> Result<Vec<u32>, ModelError> {
    let path = folder.join("generation_config.json");
    let generation = if path.is_file() { Fields::read(&path)?.tokens("eos_token_id")? } else { None };
    Ok(generation.or(raw.tokens("eos_token_id")?).unwrap_or_default())
}

//! Writes a tiny model as a Hugging Face folder.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::ensure;
use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::tokenizer::{tokenizer_config_json, tokenizer_json};
use super::{Family, HEADS, KV_HEADS, RMS_EPS, SCALING, THETA, TinyModel};

impl TinyModel {
    /// Writes configuration, tokenizer and weights of type `dtype` into the existing `folder`, the weights in one file or,
    /// with more `shards`, in so many with an index.
    ///
    /// # Errors
    /// When a file cannot be written, or `dtype` is no floating-point type of safetensors.
    pub fn write_huggingface(&self, folder: &Path, dtype: DType, shards: usize) -> anyhow::Result<()> {
        let write = |name: &str, value: &Value| std::fs::write(folder.join(name), format!("{value:#}"));
        write("config.json", &self.config_json(dtype)?)?;
        write("generation_config.json", &json!({ "eos_token_id": [2, 0] }))?;
        write("tokenizer.json", &tokenizer_json())?;
        write("tokenizer_config.json", &tokenizer_config_json(self.context))?;

        let tensors = self.tensors()?.into_iter();
        let tensors = tensors.map(|named| Ok((named.huggingface, named.values.to_dtype(dtype)?)));
        let tensors: Vec<(String, Tensor)> = tensors.collect::<anyhow::Result<_>>()?;
        if shards <= 1 {
            let all: HashMap<String, Tensor> = tensors.into_iter().collect();
            candle_core::safetensors::save(&all, folder.join("model.safetensors"))?;
            return Ok(());
        }
        let mut files: BTreeMap<String, HashMap<String, Tensor>> = BTreeMap::new();
        let (mut map, mut bytes) = (serde_json::Map::new(), 0);
        for (index, (name, tensor)) in tensors.into_iter().enumerate() {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", index % shards + 1);
            bytes += tensor.elem_count() * dtype.size_in_bytes();
            map.insert(name.clone(), json!(file));
            files.entry(file).or_default().insert(name, tensor);
        }
        for (file, tensors) in &files {
            candle_core::safetensors::save(tensors, folder.join(file))?;
        }
        let index = json!({ "metadata": { "total_size": bytes }, "weight_map": map });
        write("model.safetensors.index.json", &index)?;
        Ok(())
    }

    /// `config.json`.
    fn config_json(&self, dtype: DType) -> anyhow::Result<Value> {
        let torch_dtype = match dtype {
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            DType::F32 => "float32",
            other => anyhow::bail!("{other:?} is no type of a Hugging Face checkpoint"),
        };
        ensure!(self.hidden.is_multiple_of(64), "a width of {} is not a multiple of 64", self.hidden);
        let (architecture, model_type) = match self.family {
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Mistral => ("MistralForCausalLM", "mistral"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        };
        let mut config = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate(),
            "num_hidden_layers": self.layers,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "vocab_size": self.vocab(),
            "max_position_embeddings": self.context,
            "rms_norm_eps": RMS_EPS,
            "rope_theta": THETA,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": torch_dtype,
        });
        let more = match self.family {
            Family::Llama => json!({
                "attention_bias": false,
                "mlp_bias": false,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": SCALING.factor,
                    "low_freq_factor": SCALING.low_freq_factor,
                    "high_freq_factor": SCALING.high_freq_factor,
                    "original_max_position_embeddings": SCALING.original_context,
                },
            }),
            Family::Mistral => json!({ "sliding_window": null, "head_dim": self.head_dim() }),
            Family::Qwen2 => json!({
                "use_sliding_window": false, "sliding_window": self.context, "max_window_layers": self.layers,
            }),
            Family::Qwen3 => json!({
                "head_dim": self.head_dim(), "attention_bias": false, "use_sliding_window": false,
                "sliding_window": null, "max_window_layers": self.layers,
            }),
        };
        if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
            config.extend(more);
        }
        Ok(config)
    }
}

//! Random weights, and their names in both file formats.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Family, HEADS, KV_HEADS, TinyModel};

/// A tensor with its names.
pub(super) struct Named {
    pub(super) huggingface: String,
    pub(super) gguf: String,
    pub(super) values: Tensor,
    /// Heads whose rows GGUF's Llama order interleaves.
    pub(super) rotated_heads: Option<usize>,
}

struct Maker {
    random: ChaCha8Rng,
    tensors: Vec<Named>,
}

impl Maker {
    /// Adds a tensor of values in `[middle - reach, middle + reach)`.
    fn add(
        &mut self,
        huggingface: String,
        gguf: String,
        shape: &[usize],
        middle: f32,
        reach: f32,
    ) -> anyhow::Result<()> {
        let count = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|_| middle + reach * self.random.random_range(-1.0_f32..1.0)).collect();
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
        self.tensors.push(Named { huggingface, gguf, values, rotated_heads: None });
        Ok(())
    }
}

/// How far values reach so that a product with a row of unit variance has variance `gain` squared.
fn reach(columns: usize, gain: f32) -> f32 {
    gain * (3.0 / columns as f32).sqrt()
}

impl TinyModel {
    /// All tensors. Their scales are such that outputs depend on every token and logits spread over a few units.
    pub(super) fn tensors(&self) -> anyhow::Result<Vec<Named>> {
        let mut maker = Maker { random: ChaCha8Rng::seed_from_u64(self.seed), tensors: Vec::new() };
        let (hidden, vocab) = (self.hidden, self.vocab());
        let name =
            |huggingface: &str, gguf: &str| (format!("{huggingface}.weight"), format!("{gguf}.weight"));
        let (model, gguf) = name("model.embed_tokens", "token_embd");
        maker.add(model, gguf, &[vocab, hidden], 0.0, 1.0)?;
        for layer in 0..self.layers {
            self.add_layer(&mut maker, layer)?;
        }
        let (model, gguf) = name("model.norm", "output_norm");
        maker.add(model, gguf, &[hidden], 1.0, 0.2)?;
        if !self.tied {
            let (model, gguf) = name("lm_head", "output");
            maker.add(model, gguf, &[vocab, hidden], 0.0, reach(hidden, 2.0))?;
        }
        Ok(maker.tensors)
    }

    fn add_layer(&self, maker: &mut Maker, layer: usize) -> anyhow::Result<()> {
        let (hidden, head_dim) = (self.hidden, self.head_dim());
        let (query, kv) = (HEADS * head_dim, KV_HEADS * head_dim);
        let matrices = [
            ("self_attn.q_proj", "attn_q", query, hidden, 1.5, Some(HEADS)),
            ("self_attn.k_proj", "attn_k", kv, hidden, 1.5, Some(KV_HEADS)),
            ("self_attn.v_proj", "attn_v", kv, hidden, 1.5, None),
            ("self_attn.o_proj", "attn_output", hidden, query, 1.0, None),
            ("mlp.gate_proj", "ffn_gate", self.intermediate(), hidden, 1.0, None),
            ("mlp.up_proj", "ffn_up", self.intermediate(), hidden, 1.0, None),
            ("mlp.down_proj", "ffn_down", hidden, self.intermediate(), 1.0, None),
        ];
        for (module, short, rows, columns, gain, rotated) in matrices {
            let names = [format!("model.layers.{layer}.{module}"), format!("blk.{layer}.{short}")];
            let [model, gguf] = names.each_ref().map(|name| format!("{name}.weight"));
            maker.add(model, gguf, &[rows, columns], 0.0, reach(columns, gain))?;
            if let Some(tensor) = maker.tensors.last_mut() {
                tensor.rotated_heads = rotated;
            }
            let biased = matches!(short, "attn_q" | "attn_k" | "attn_v");
            if self.family == Family::Qwen2 && biased {
                let [model, gguf] = names.map(|name| format!("{name}.bias"));
                maker.add(model, gguf, &[rows], 0.0, 0.5)?;
            }
        }
        let mut norms =
            vec![("input_layernorm", "attn_norm", hidden), ("post_attention_layernorm", "ffn_norm", hidden)];
        if self.family == Family::Qwen3 {
            norms.push(("self_attn.q_norm", "attn_q_norm", head_dim));
            norms.push(("self_attn.k_norm", "attn_k_norm", head_dim));
        }
        for (module, short, length) in norms {
            let model = format!("model.layers.{layer}.{module}.weight");
            maker.add(model, format!("blk.{layer}.{short}.weight"), &[length], 1.0, 0.2)?;
        }
        Ok(())
    }
}

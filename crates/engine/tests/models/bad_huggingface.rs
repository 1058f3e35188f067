//! Hugging Face folders that cannot be loaded: each is refused with an error that names the file and what is wrong in it,
//! and no damage whatever makes the loader panic.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::fs;
use std::path::Path;

use crate::model_support::{Files, refusal};
use ampd_engine::model;
use ampd_testkit::tiny_model::{Family, TinyModel};
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};

fn assert_refused(path: &Path, expected: &[&str]) {
    let refusal = refusal(path);
    for part in expected {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

fn folder(family: Family, shards: usize) -> Files {
    Files::huggingface(&TinyModel::new(family), DType::BF16, shards)
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites the weights of a folder with one file.
fn edit_weights(files: &Files, change: impl FnOnce(&mut std::collections::HashMap<String, Tensor>)) {
    let path = files.path.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &path).unwrap();
}

#[test]
fn wrong_fields_are_named() {
    let scaling = |kind: &str| {
        json!({ "rope_type": kind, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64 })
    };
    let without_factor = json!({ "type": "linear" });
    let reversed = json!({ "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 4.0,
        "high_freq_factor": 1.0, "original_max_position_embeddings": 64 });
    let without_context = json!({ "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 0 });
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("hidden_size", Value::Null, &["field hidden_size is missing"]),
        ("hidden_size", json!("64"), &["field hidden_size is a text"]),
        ("hidden_size", json!(-64), &["field hidden_size is -64"]),
        ("hidden_size", json!(1e30), &["field hidden_size is 1e+30"]),
        ("hidden_size", json!(u64::MAX), &["field hidden", "it must be between"]),
        ("num_hidden_layers", json!(0), &["field layers is 0"]),
        ("num_hidden_layers", json!(1_u64 << 40), &["field layers"]),
        ("num_hidden_layers", json!(3), &["tensor model.layers.2", "is missing"]),
        ("num_hidden_layers", json!(1), &["tensor model.layers.1", "is not known"]),
        ("num_attention_heads", json!(0), &["field heads is 0"]),
        ("num_key_value_heads", json!(3), &["field kv_heads is 3", "does not divide 4"]),
        ("vocab_size", json!(100), &["tensor model.embed_tokens.weight has shape", "expected [100, 64]"]),
        ("intermediate_size", json!(130), &["mlp.gate_proj.weight has shape"]),
        ("max_position_embeddings", json!(0), &["field max_context is 0"]),
        ("rms_norm_eps", json!(0.0), &["field rms_norm_eps is 0"]),
        ("rms_norm_eps", json!([1]), &["field rms_norm_eps is a list"]),
        ("rope_theta", json!(-1), &["field rope.theta is -1"]),
        (
            "rope_scaling",
            scaling("yarn"),
            &["rope scaling \"yarn\" (rope_scaling.rope_type) is not supported"],
        ),
        ("rope_scaling", scaling("longrope"), &["\"longrope\"", "is not supported"]),
        ("rope_scaling", without_factor, &["field rope_scaling.factor is missing"]),
        ("rope_scaling", reversed, &["field rope_scaling.high_freq_factor is 1"]),
        ("rope_scaling", without_context, &["field rope.scaling.original_context is 0"]),
        ("rope_scaling", json!(7), &["field rope_scaling is 7, not an object"]),
        ("eos_token_id", json!("end"), &["field eos_token_id is a text"]),
        ("architectures", json!(["GPT2LMHeadModel"]), &["GPT2LMHeadModel", "is not supported"]),
        ("architectures", json!([]), &["field architectures names none"]),
        ("architectures", json!(["MixtralForCausalLM"]), &["mixture-of-experts", "is not supported yet"]),
        ("architectures", json!(["Qwen3MoeForCausalLM"]), &["mixture-of-experts", "is not supported yet"]),
        ("num_local_experts", json!(8), &["mixture-of-experts", "num_local_experts"]),
        ("attention_bias", json!(true), &["attention_bias", "is not supported"]),
        ("mlp_bias", json!(true), &["mlp_bias", "is not supported"]),
        ("hidden_act", json!("gelu"), &["\"gelu\" (hidden_act) is not supported"]),
        ("quantization_config", json!({ "quant_method": "gptq" }), &["\"gptq\"", "is not supported"]),
        ("partial_rotary_factor", json!(0.5), &["partial_rotary_factor", "is not supported"]),
    ];
    for (field, value, expected) in cases {
        let files = folder(Family::Llama, 1);
        fs::remove_file(files.path.join("generation_config.json")).unwrap();
        edit(&files.path.join("config.json"), |config| config[field] = value);
        assert_refused(&files.path, expected);
    }
}

#[test]
fn a_sliding_window_below_the_context_is_refused() {
    let files = folder(Family::Mistral, 1);
    let config = files.path.join("config.json");
    edit(&config, |config| config["sliding_window"] = json!(128));
    assert_refused(&files.path, &["config.json", "sliding window of 128", "is not supported"]);
    edit(&config, |config| config["sliding_window"] = json!(512));
    files.load();

    let files = folder(Family::Qwen2, 1);
    let config = files.path.join("config.json");
    edit(&config, |config| config["sliding_window"] = json!(128));
    files.load();
    edit(&config, |config| config["use_sliding_window"] = json!(true));
    assert_refused(&files.path, &["sliding window of 128"]);
}

#[test]
fn damaged_json_is_named() {
    for name in ["config.json", "generation_config.json"] {
        for text in ["", "{", "[]", "{\"eos_token_id\": NaN}", "\u{feff}{}"] {
            let files = folder(Family::Llama, 1);
            fs::write(files.path.join(name), text).unwrap();
            assert_refused(&files.path, &[name, "is damaged"]);
        }
        let files = folder(Family::Llama, 1);
        fs::write(files.path.join(name), [b'{', b'"', 0xff, b'"']).unwrap();
        assert_refused(&files.path, &[name, "is damaged"]);
    }
}

#[test]
fn missing_files_are_named() {
    let files = folder(Family::Llama, 1);
    fs::remove_file(files.path.join("model.safetensors")).unwrap();
    assert_refused(&files.path, &["cannot read", "model.safetensors"]);
    fs::remove_file(files.path.join("config.json")).unwrap();
    assert_refused(&files.path, &["neither a config.json nor a .gguf file"]);
    assert_refused(&files.path.join("nowhere"), &["cannot read", "nowhere"]);
}

#[test]
fn a_shard_index_leads_only_to_files_that_are_there() {
    let index = "model.safetensors.index.json";
    let set_all = |value: &str| {
        let files = folder(Family::Llama, 2);
        edit(&files.path.join(index), |index| {
            for file in index["weight_map"].as_object_mut().unwrap().values_mut() {
                *file = json!(value);
            }
        });
        files
    };
    for outside in ["../model.safetensors", "/etc/hostname", "a/../../b", "", "./x"] {
        let files = set_all(outside);
        assert_refused(&files.path, &[index, "weight_map", "leads out of the folder"]);
    }
    assert_refused(
        &set_all("model-00009.safetensors").path,
        &[index, "model-00009.safetensors", "is missing"],
    );
    let files = set_all("shards");
    fs::create_dir(files.path.join("shards")).unwrap();
    assert_refused(&files.path, &[index, "shards", "is no file"]);
    // Every tensor is said to lie in the first file, which holds half of them.
    let files = set_all("model-00001-of-00002.safetensors");
    assert_refused(&files.path, &["model-00001-of-00002.safetensors", "is missing, though the index"]);

    let files = folder(Family::Llama, 2);
    fs::remove_file(files.path.join("model-00002-of-00002.safetensors")).unwrap();
    assert_refused(&files.path, &[index, "model-00002-of-00002.safetensors", "is missing"]);

    for (map, expected) in [
        (json!(null), "field weight_map is missing"),
        (json!({}), "names no file"),
        (json!({ "lm_head.weight": 3 }), "field weight_map.lm_head.weight is 3, not a text"),
        (json!([]), "not an object"),
    ] {
        let files = folder(Family::Llama, 2);
        edit(&files.path.join(index), |index| index["weight_map"] = map);
        assert_refused(&files.path, &[index, expected]);
    }
}

#[test]
fn symbolic_links_lead_out_only_into_a_download_cache() {
    let outside = folder(Family::Llama, 2);
    let name = "model-00001-of-00002.safetensors";
    let link = |folder: &Path, target: &Path| {
        fs::remove_file(folder.join(name)).unwrap();
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    };
    let files = folder(Family::Llama, 2);
    link(&files.path, &outside.path.join(name));
    assert_refused(&files.path, &[name, "leads out of the folder"]);

    // A cache keeps each file as a blob, and a folder of links for each revision.
    let cache = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (cache.path().join("blobs"), cache.path().join("snapshots/0123abcd"));
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir(&blobs).unwrap();
    for entry in fs::read_dir(&outside.path).unwrap() {
        let file = entry.unwrap().path();
        let blob = blobs.join(format!("blob-of-{}", file.file_name().unwrap().display()));
        fs::rename(&file, &blob).unwrap();
        let relative = Path::new("../../blobs").join(blob.file_name().unwrap());
        std::os::unix::fs::symlink(relative, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    model::load(&snapshot).unwrap();
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let key = "model.layers.1.self_attn.k_proj.weight";
    let files = folder(Family::Llama, 1);
    edit_weights(&files, |tensors| {
        tensors.remove(key);
    });
    assert_refused(&files.path, &[key, "is missing"]);

    let files = folder(Family::Llama, 1);
    edit_weights(&files, |tensors| {
        let transposed = tensors[key].t().unwrap().contiguous().unwrap();
        tensors.insert(key.to_owned(), transposed);
    });
    assert_refused(&files.path, &["model.safetensors", key, "has shape [64, 32], expected [32, 64]"]);

    let files = folder(Family::Llama, 1);
    edit_weights(&files, |tensors| {
        let bytes = tensors[key].to_dtype(DType::U8).unwrap();
        tensors.insert(key.to_owned(), bytes);
    });
    assert_refused(&files.path, &[key, "has type U8"]);

    for (family, extra) in [
        (Family::Llama, "model.layers.0.self_attn.q_proj.bias"),
        (Family::Mistral, "model.layers.0.self_attn.q_norm.weight"),
        (Family::Qwen3, "model.layers.0.block_sparse_moe.gate.weight"),
    ] {
        let files = folder(family, 1);
        edit_weights(&files, |tensors| {
            tensors.insert(extra.to_owned(), Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap());
        });
        assert_refused(&files.path, &[extra, "is not known in this architecture"]);
    }

    let files = folder(Family::Llama, 1);
    edit_weights(&files, |tensors| {
        tensors.remove("lm_head.weight");
        let frequencies = Tensor::zeros(8, DType::F64, &Device::Cpu).unwrap();
        tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), frequencies);
    });
    assert_refused(&files.path, &["lm_head.weight", "is missing"]);
    edit(&files.path.join("config.json"), |config| config["tie_word_embeddings"] = json!(true));
    files.load();
}

#[test]
fn damaged_weights_are_refused() {
    let name = "model.safetensors";
    let files = folder(Family::Llama, 1);
    let path = files.path.join(name);
    let whole = fs::read(&path).unwrap();
    for length in [0, 4, 8, 20, 2000, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_refused(&files.path, &[name, "is damaged"]);
    }
    fs::write(&path, [whole.as_slice(), b"more"].concat()).unwrap();
    assert_refused(&files.path, &[name, "is damaged"]);
    for length in [u64::MAX, 1 << 40, 100_000_001] {
        fs::write(&path, [&length.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
        assert_refused(&files.path, &[name, "header of", "does not fit"]);
    }
    let with_header = |header: &str| {
        let length = header.len() as u64;
        fs::write(&path, [&length.to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat()).unwrap();
    };
    for header in [
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[16],\"data_offsets\":[0,32]},\
          \"b\":{\"dtype\":\"BF16\",\"shape\":[32],\"data_offsets\":[0,64]}}",
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[16],\"data_offsets\":[64,32]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,64]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1000000000000],\"data_offsets\":[0,4000000000000]}}",
        "{\"a\":{\"dtype\":\"F99\",\"shape\":[16],\"data_offsets\":[0,64]}}",
        "{\"a\"",
    ] {
        with_header(header);
        assert_refused(&files.path, &[name, "is damaged"]);
    }
    fs::write(&path, &whole).unwrap();
    files.load();
}

/// Overwrites bytes at places between 0 and 1 of the first `length` bytes of a file.
fn damage(path: &Path, length: usize, places: &[(f64, u8)]) {
    let mut bytes = fs::read(path).unwrap();
    let length = length.min(bytes.len());
    for &(place, value) in places {
        bytes[(place * length as f64) as usize] = value;
    }
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens to a header or to the index, loading ends with a model or an error.
    #[test]
    fn random_damage_never_panics(
        header in proptest::collection::vec((0.0_f64..1.0, any::<u8>()), 0..4),
        index in proptest::collection::vec((0.0_f64..1.0, any::<u8>()), 0..4),
    ) {
        let files = folder(Family::Llama, 2);
        let shard = files.path.join("model-00001-of-00002.safetensors");
        let length = u64::from_le_bytes(fs::read(&shard).unwrap()[..8].try_into().unwrap());
        damage(&shard, 8 + length as usize, &header);
        damage(&files.path.join("model.safetensors.index.json"), usize::MAX, &index);
        let _ = model::load(&files.path);
    }
}

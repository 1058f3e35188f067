//! GGUF files that cannot be loaded: each is refused with an error that names the file and what is wrong in it, and no
//! damage whatever makes the loader panic. Lengths are compared with the file's before anything is allocated.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::fs;
use std::path::Path;

use crate::model_support::{Files, refusal};
use ampd_engine::model;
use ampd_testkit::tiny_model::{Family, TinyModel, write_gguf};
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

/// A file's tensors by name.
type Tensors = Vec<(String, QTensor)>;

fn assert_refused(path: &Path, expected: &[&str]) {
    let refusal = refusal(path);
    for part in ["tiny.gguf"].iter().chain(expected) {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

fn tiny() -> TinyModel {
    TinyModel::new(Family::Llama)
}

fn file() -> Files {
    Files::gguf(&tiny(), GgmlDType::Q8_0)
}

/// Writes the tiny model with its metadata changed.
fn with_fields(tiny: &TinyModel, change: impl FnOnce(&mut Vec<(String, Value)>)) -> Files {
    let files = Files::gguf(tiny, GgmlDType::Q8_0);
    let mut fields = tiny.gguf_fields();
    change(&mut fields);
    write_gguf(&files.path, &fields, &tiny.gguf_tensors(GgmlDType::Q8_0).unwrap()).unwrap();
    files
}

/// Sets or, with `None`, removes a field.
fn set(fields: &mut Vec<(String, Value)>, name: &str, value: Option<Value>) {
    fields.retain(|(field, _)| field != name);
    fields.extend(value.map(|value| (name.to_owned(), value)));
}

/// Where the entry of tensor `name` goes on after its name: dimensions, type and offset follow.
fn entry(bytes: &[u8], name: &str) -> usize {
    let mut pattern = (name.len() as u64).to_le_bytes().to_vec();
    pattern.extend_from_slice(name.as_bytes());
    bytes.windows(pattern.len()).position(|window| window == pattern).unwrap() + pattern.len()
}

/// Overwrites part of the tiny file.
fn patched(at: impl FnOnce(&[u8]) -> usize, patch: &[u8]) -> Files {
    let files = file();
    let mut bytes = fs::read(&files.path).unwrap();
    let at = at(&bytes);
    bytes[at..at + patch.len()].copy_from_slice(patch);
    fs::write(&files.path, bytes).unwrap();
    files
}

#[test]
fn wrong_fields_are_named() {
    let number = |value: u32| Some(Value::U32(value));
    let text = |value: &str| Some(Value::String(value.to_owned()));
    let array = || Some(Value::Array(vec![Value::U32(2), Value::U32(2)]));
    let cases: Vec<(&str, Option<Value>, &[&str])> = vec![
        ("general.architecture", None, &["field general.architecture is missing"]),
        ("general.architecture", number(7), &["field general.architecture is an integer, not a text"]),
        ("general.architecture", text("gpt2"), &["architecture \"gpt2\"", "is not supported"]),
        ("general.architecture", text("qwen3moe"), &["mixture-of-experts", "is not supported yet"]),
        ("general.architecture", text("qwen2"), &["field qwen2.embedding_length is missing"]),
        ("general.alignment", number(0), &["field general.alignment must be a power of two"]),
        ("general.alignment", number(24), &["field general.alignment must be a power of two"]),
        ("general.alignment", text("32"), &["field general.alignment must be a power of two"]),
        ("llama.block_count", None, &["field llama.block_count is missing"]),
        ("llama.block_count", number(0), &["field layers is 0"]),
        ("llama.block_count", number(u32::MAX), &["field layers is 4294967295"]),
        ("llama.block_count", number(3), &["tensor blk.2.attn_q.weight is missing"]),
        ("llama.block_count", number(1), &["tensor blk.1.attn_k.weight is not known"]),
        ("llama.embedding_length", text("64"), &["field llama.embedding_length is a text, not an integer"]),
        ("llama.embedding_length", Some(Value::I32(-64)), &["field llama.embedding_length is -64"]),
        ("llama.embedding_length", number(128), &["has shape", "expected"]),
        ("llama.feed_forward_length", number(1 << 30), &["field intermediate"]),
        ("llama.attention.head_count", number(0), &["field heads is 0"]),
        ("llama.attention.head_count_kv", array(), &["llama.attention.head_count_kv is an array"]),
        ("llama.attention.head_count_kv", number(3), &["field kv_heads is 3"]),
        ("llama.attention.key_length", number(12), &["for heads of 12", "is not supported"]),
        (
            "llama.attention.value_length",
            number(32),
            &["llama.attention.value_length 32", "is not supported"],
        ),
        ("llama.rope.dimension_count", number(8), &["llama.rope.dimension_count 8", "is not supported"]),
        ("llama.rope.freq_base", Some(Value::F32(f32::NAN)), &["field rope.theta is NaN"]),
        ("llama.rope.scaling.type", text("yarn"), &["rope scaling \"yarn\"", "is not supported"]),
        ("llama.rope.scaling.type", text("linear"), &["field llama.rope.scaling.factor is missing"]),
        ("llama.attention.layer_norm_rms_epsilon", Some(Value::F32(-1.0)), &["field rms_eps is -1"]),
        ("llama.context_length", number(0), &["field max_context is 0"]),
        ("llama.attention.sliding_window", number(128), &["sliding window of 128", "is not supported"]),
        ("llama.expert_count", number(8), &["mixture-of-experts", "llama.expert_count"]),
        ("split.count", Some(Value::U16(3)), &["split into 3 files", "is not supported"]),
        ("tokenizer.ggml.eos_token_id", text("2"), &["field tokenizer.ggml.eos_token_id is a text"]),
        (
            "tokenizer.ggml.bos_token_id",
            Some(Value::U64(1 << 40)),
            &["field tokenizer.ggml.bos_token_id is 1099511627776"],
        ),
    ];
    for (field, value, expected) in cases {
        let files = with_fields(&tiny(), |fields| set(fields, field, value));
        assert_refused(&files.path, expected);
    }
    for factor in [0.0, -2.0, f32::NAN, f32::INFINITY] {
        let files = with_fields(&tiny(), |fields| {
            set(fields, "llama.rope.scaling.type", text("linear"));
            set(fields, "llama.rope.scaling.factor", Some(Value::F32(factor)));
        });
        assert_refused(&files.path, &["field rope.scaling.factor is", "it must be positive"]);
    }
    let files = with_fields(&tiny(), |fields| fields.push(fields[0].clone()));
    assert_refused(&files.path, &["field general.architecture occurs twice"]);
}

#[test]
fn harmless_fields_are_accepted() {
    let files = with_fields(&tiny(), |fields| {
        set(fields, "llama.expert_count", Some(Value::U32(0)));
        set(fields, "llama.rope.scaling.type", Some(Value::String("none".to_owned())));
        set(fields, "llama.attention.sliding_window", Some(Value::U32(512)));
        set(fields, "llama.attention.head_count_kv", Some(Value::U8(2)));
        set(fields, "some.text", Some(Value::String("x".repeat(100_000))));
        let nested = Value::Array(vec![Value::Array(vec![Value::String("a".to_owned())])]);
        set(fields, "some.list", Some(nested));
    });
    files.load();
}

#[test]
fn wrong_tensors_are_named() {
    let name = "blk.1.ffn_up.weight";
    let with_tensor = |change: &dyn Fn(&mut Tensors)| {
        let files = file();
        let mut tensors = tiny().gguf_tensors(GgmlDType::Q8_0).unwrap();
        change(&mut tensors);
        write_gguf(&files.path, &tiny().gguf_fields(), &tensors).unwrap();
        files
    };
    let zeros = |shape: &[usize]| {
        let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        QTensor::quantize(&tensor, GgmlDType::F32).unwrap()
    };
    let files = with_tensor(&|tensors| tensors.retain(|(tensor, _)| tensor != name));
    assert_refused(&files.path, &["tensor blk.1.ffn_up.weight is missing"]);
    let files = with_tensor(&|tensors| {
        tensors.retain(|(tensor, _)| tensor != name);
        tensors.push((name.to_owned(), zeros(&[64, 128])));
    });
    assert_refused(&files.path, &[name, "has shape [64, 128], expected [128, 64]"]);
    let files = with_tensor(&|tensors| tensors.push((name.to_owned(), zeros(&[128, 64]))));
    assert_refused(&files.path, &["tensor blk.1.ffn_up.weight occurs twice"]);
    let files = with_tensor(&|tensors| tensors.push(("blk.0.attn_q.bias".to_owned(), zeros(&[64]))));
    assert_refused(&files.path, &["tensor blk.0.attn_q.bias is not known"]);
    let files = with_tensor(&|tensors| tensors.retain(|(tensor, _)| tensor != "token_embd.weight"));
    assert_refused(&files.path, &["tensor token_embd.weight is missing"]);
    let files = with_tensor(&|tensors| {
        tensors.retain(|(tensor, _)| tensor != "rope_freqs.weight");
        tensors.push(("rope_freqs.weight".to_owned(), zeros(&[8])));
    });
    assert_refused(&files.path, &["tensor rope_freqs.weight divides by 0"]);
}

#[test]
fn impossible_entries_are_named() {
    let name = "blk.0.ffn_gate.weight";
    // A matrix's entry: a dimension count, two dimensions, a type and an offset.
    let (rows, kind, offset) = (12, 20, 24);
    let patch = |field: usize, value: &[u8]| patched(|bytes| entry(bytes, name) + field, value);
    let refused = |files: &Files, what: &str| assert_refused(&files.path, &[name, what]);
    refused(&patch(kind, &23_u32.to_le_bytes()), "has the unsupported type 23");
    refused(&patch(kind, &9999_u32.to_le_bytes()), "has the unsupported type 9999");
    refused(&patch(rows, &(1_u64 << 62).to_le_bytes()), "has impossible dimensions");
    refused(&patch(rows, &(1_u64 << 40).to_le_bytes()), "reaches beyond the end of the file");
    refused(&patch(4, &63_u64.to_le_bytes()), "has 63 columns, but Q8_0 packs 32");
    refused(&patch(offset, &33_u64.to_le_bytes()), "which is not a multiple of 32");
    refused(&patch(offset, &(u64::MAX - 31).to_le_bytes()), "reaches beyond the end of the file");
    refused(&patch(offset, &(1_u64 << 40).to_le_bytes()), "reaches beyond the end of the file");
    assert_refused(&patch(offset, &0_u64.to_le_bytes()).path, &["overlaps tensor"]);
    assert_refused(&patch(0, &5_u32.to_le_bytes()).path, &["5 dimensions do not fit"]);
}

#[test]
fn damaged_headers_are_refused() {
    let cases: [(usize, &[u8], &str); 8] = [
        (0, b"GGML", "does not begin with the letters GGUF"),
        (4, &9_u32.to_le_bytes(), "version 9 is unknown"),
        (4, &3_u32.to_be_bytes(), "version 50331648 is unknown"),
        (8, &u64::MAX.to_le_bytes(), "18446744073709551615 tensors do not fit"),
        (16, &u64::MAX.to_le_bytes(), "18446744073709551615 fields do not fit"),
        (24, &u64::MAX.to_le_bytes(), "bytes of text do not fit"),
        (24, &5000_u64.to_le_bytes(), "bytes of name do not fit"),
        (24 + 8 + "general.architecture".len(), &99_u32.to_le_bytes(), "unknown value type 99"),
    ];
    for (at, patch, expected) in cases {
        assert_refused(&patched(|_| at, patch).path, &["is damaged", expected]);
    }
    for (at, what) in [(8, "tensors"), (16, "fields")] {
        let files = patched(|_| at, &65_537_u64.to_le_bytes());
        let mut bytes = fs::read(&files.path).unwrap();
        bytes.resize(2 << 20, 0);
        fs::write(&files.path, bytes).unwrap();
        assert_refused(&files.path, &["is damaged", &format!("65537 {what} are more than 65536")]);
    }
    let files = file();
    fs::write(&files.path, "a text, and no model at all").unwrap();
    assert_refused(&files.path, &["is damaged"]);
    fs::write(&files.path, "").unwrap();
    assert_refused(&files.path, &["is damaged", "ends within its header"]);
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let files = file();
    let whole = fs::read(&files.path).unwrap();
    // The last tensor ends at the file's end, up to the padding after it.
    for length in (0..whole.len() - 64).step_by(997) {
        fs::write(&files.path, &whole[..length]).unwrap();
        assert_refused(&files.path, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens to the header, loading ends with a model or an error.
    #[test]
    fn random_damage_never_panics(
        places in proptest::collection::vec((0.0_f64..1.0, any::<u8>()), 1..6),
        version in 1_u32..4,
    ) {
        let files = file();
        let mut bytes = fs::read(&files.path).unwrap();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        let header = 12_000.min(bytes.len());
        for (place, value) in places {
            bytes[(place * header as f64) as usize] = value;
        }
        fs::write(&files.path, bytes).unwrap();
        let _ = model::load(&files.path);
    }
}

//! Every family agrees with candle-transformers, an independent implementation, in f32.
//!
//! candle-transformers keeps KV in f32, so these tests do too; a last test bounds what rounding KV to bf16 changes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper's failure is the test's")]

use std::collections::HashMap;
use std::fs::File;

use crate::model_support::{Files, backend, difference, exact_backend, logits, spread, text};
use ampd_engine::BackendKind;
use ampd_testkit::tiny_model::{Family, TinyModel, write_gguf};
use candle_core::quantized::{GgmlDType, gguf_file};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{
    llama, mistral, quantized_llama, quantized_qwen2, quantized_qwen3, qwen2, qwen3,
};

/// Most that a logit may differ.
const TOLERANCE: f32 = 1e-3;

/// Longer than the context from which Llama's rotary scaling starts, and than four blocks.
const LENGTH: usize = 150;

/// Gives the logits that follow some tokens at an offset.
type Reference = Box<dyn FnMut(&Tensor, usize) -> candle_core::Result<Tensor>>;

fn input(tokens: &[u32]) -> Tensor {
    Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
}

/// The reference's logits after every token, one token at a time.
fn one_by_one(mut reference: Reference, tokens: &[u32]) -> Vec<f32> {
    let rows = tokens.iter().enumerate().map(|(position, token)| {
        reference(&input(&[*token]), position).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    });
    rows.collect::<Vec<_>>().concat()
}

/// The reference's logits after the last token, all tokens at once.
fn at_once(mut reference: Reference, tokens: &[u32]) -> Vec<f32> {
    reference(&input(tokens), 0).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn huggingface_reference(files: &Files, family: Family) -> Reference {
    let tensors = candle_core::safetensors::load(files.path.join("model.safetensors"), &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F32).unwrap())).collect();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let config = std::fs::read_to_string(files.path.join("config.json")).unwrap();
    match family {
        Family::Llama => {
            let config: llama::LlamaConfig = serde_json::from_str(&config).unwrap();
            let config = config.into_config(false);
            let model = llama::Llama::load(weights, &config).unwrap();
            let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
            Box::new(move |tokens, offset| model.forward(tokens, offset, &mut cache))
        }
        Family::Mistral => {
            let config: mistral::Config = serde_json::from_str(&config).unwrap();
            let mut model = mistral::Model::new(&config, weights).unwrap();
            Box::new(move |tokens, offset| model.forward(tokens, offset))
        }
        Family::Qwen2 => {
            let config: qwen2::Config = serde_json::from_str(&config).unwrap();
            let mut model = qwen2::ModelForCausalLM::new(&config, weights).unwrap();
            Box::new(move |tokens, offset| model.forward(tokens, offset))
        }
        Family::Qwen3 => {
            let config: qwen3::Config = serde_json::from_str(&config).unwrap();
            let mut model = qwen3::ModelForCausalLM::new(&config, weights).unwrap();
            Box::new(move |tokens, offset| model.forward(tokens, offset))
        }
    }
}

/// Compares logits of the model in `files` with two runs of a reference.
fn compare(name: &str, files: &Files, reference: impl Fn() -> Reference) {
    let model = files.load();
    let vocab = model.config.vocab;
    let tokens = text(1, LENGTH, vocab);
    let ours = logits(&mut exact_backend(&model), &tokens, LENGTH);
    assert!(spread(&ours) > 1.0, "{name}: logits spread by {} only", spread(&ours));
    let theirs = one_by_one(reference(), &tokens);
    let apart = difference(&ours, &theirs);
    let last = difference(&ours[(LENGTH - 1) * vocab..], &at_once(reference(), &tokens));
    println!("{name}: spread {}, difference {apart}, of the last row {last}", spread(&ours));
    assert!(apart < TOLERANCE && last < TOLERANCE, "{name}: {apart}, last row {last}");
}

#[test]
fn huggingface_folders_of_every_family() {
    for family in Family::ALL {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let files = Files::huggingface(&TinyModel::new(family), dtype, 1);
            compare(&format!("{family:?} {dtype:?}"), &files, || huggingface_reference(&files, family));
        }
    }
}

#[test]
fn an_untied_head_and_a_tied_one() {
    for tied in [false, true] {
        for family in [Family::Llama, Family::Qwen3] {
            let tiny = TinyModel { tied, ..TinyModel::new(family).with_seed(2) };
            let files = Files::huggingface(&tiny, DType::F32, 1);
            let model = files.load();
            assert_eq!(model.weights.output.is_none(), tied);
            compare(&format!("{family:?} tied: {tied}"), &files, || huggingface_reference(&files, family));
        }
    }
}

#[test]
fn gguf_files_of_every_architecture() {
    for family in [Family::Mistral, Family::Qwen2, Family::Qwen3] {
        let tiny = TinyModel::new(family);
        let mut files = Files::gguf(&tiny, GgmlDType::F32);
        // One of the references computes in f16 unless the file asks for f32 by this field.
        let mut fields = tiny.gguf_fields();
        fields.push(("general.dtype".to_owned(), gguf_file::Value::U32(0)));
        files.path = files.path.with_file_name("f32.gguf");
        write_gguf(&files.path, &fields, &tiny.gguf_tensors(GgmlDType::F32).unwrap()).unwrap();
        let reference = || -> Reference {
            let mut file = File::open(&files.path).unwrap();
            let content = gguf_file::Content::read(&mut file).unwrap();
            match family {
                Family::Qwen2 => {
                    let model = quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &Device::Cpu);
                    let mut model = model.unwrap();
                    Box::new(move |tokens, offset| model.forward(tokens, offset))
                }
                Family::Qwen3 => {
                    let model = quantized_qwen3::ModelWeights::from_gguf(content, &mut file, &Device::Cpu);
                    let mut model = model.unwrap();
                    Box::new(move |tokens, offset| model.forward(tokens, offset))
                }
                _ => {
                    let model = quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu);
                    let mut model = model.unwrap();
                    Box::new(move |tokens, offset| model.forward(tokens, offset))
                }
            }
        };
        compare(&format!("GGUF of {family:?}"), &files, reference);
    }
}

/// Both forms of a model say the same: rotation of neighbours and of halves, and Llama's scaling by rule and by table.
#[test]
fn both_file_formats_give_the_same_logits() {
    for family in Family::ALL {
        let tiny = TinyModel::new(family);
        let (folder, file) =
            (Files::huggingface(&tiny, DType::F32, 1).load(), Files::gguf(&tiny, GgmlDType::F32).load());
        let tokens = text(3, LENGTH, folder.config.vocab);
        let apart = difference(
            &logits(&mut exact_backend(&folder), &tokens, LENGTH),
            &logits(&mut exact_backend(&file), &tokens, LENGTH),
        );
        println!("{family:?}: the formats differ by {apart}");
        assert!(apart < 1e-4, "{family:?}: {apart}");
        assert_eq!(folder.config.bos, file.config.bos);
        assert_eq!((folder.config.eos, file.config.eos), (vec![2, 0], vec![2]));
    }
}

#[test]
fn rounding_kv_changes_little() {
    for family in Family::ALL {
        let model = Files::huggingface(&TinyModel::new(family), DType::F32, 1).load();
        let tokens = text(4, LENGTH, model.config.vocab);
        let exact = logits(&mut exact_backend(&model), &tokens, LENGTH);
        let rounded = logits(&mut *backend(BackendKind::Tensor, &model), &tokens, LENGTH);
        let apart = difference(&exact, &rounded);
        println!("{family:?}: bf16 KV changes logits by up to {apart}, spread {}", spread(&exact));
        assert!(apart > 0.0 && apart < 0.1 * spread(&exact), "{family:?}: {apart}");
    }
}

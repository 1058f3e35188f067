//! The CPU backend agrees with the reference backend, and gives the same bits on every instruction set and with any
//! number of threads.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper's failure is the test's")]

use crate::model_support::{
    BLOCKS, Files, backend, bits, difference, exact_backend, logits, part, read, spread, step, table, text,
};
use ampd_engine::BackendKind;
use ampd_engine::backend::{Backend, KvSpan, LogitsWanted};
use ampd_engine::cpu::{CpuBackend, CpuOptions, Isa};
use ampd_engine::model::{FeedForward, Matrix, MatrixData, Model, ModelConfig};
use ampd_testkit::tiny_model::{Family, TinyModel};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

/// Most that a logit may differ from the reference backend's on the same KV.
const TOLERANCE: f32 = 1e-3;

/// Tokens of the prompts: five blocks, the last of them not full.
const LENGTH: usize = 150;

const ENCODINGS: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn on(isa: Isa, threads: usize, model: &Model) -> CpuBackend {
    CpuBackend::new(model, CpuOptions { threads, isa: Some(isa), kv_blocks: BLOCKS }).unwrap()
}

fn compare(name: &str, model: &Model) {
    let tokens = text(1, LENGTH, model.config.vocab);
    let ours = logits(&mut *backend(BackendKind::Cpu, model), &tokens, LENGTH);
    let reference = logits(&mut *backend(BackendKind::Tensor, model), &tokens, LENGTH);
    assert!(spread(&reference) > 0.5, "{name}: logits spread by {} only", spread(&reference));
    // Values a hair apart may round to neighbouring bf16 values; over a whole prompt that may change no more than
    // rounding itself does.
    let rounding = difference(&reference, &logits(&mut exact_backend(model), &tokens, LENGTH));
    let apart = difference(&ours, &reference);
    println!("{name}: difference {apart}, by rounding {rounding}");
    assert!(apart < rounding.max(TOLERANCE), "{name}: {apart}, by rounding {rounding}");
    // On the same KV it may change next to nothing.
    let (mut ours, mut reference) = (backend(BackendKind::Cpu, model), backend(BackendKind::Tensor, model));
    let blocks = table(5, LENGTH);
    let mut start = 0;
    for end in [LENGTH - 40, LENGTH - 20, LENGTH - 3, LENGTH - 2, LENGTH - 1] {
        step(&mut *reference, vec![part(&tokens, start, end, &blocks, LogitsWanted::None)]);
        start = end;
        for layer in 0..model.config.layers {
            let span = KvSpan { block_table: &blocks, start: 0, end };
            ours.write_kv(layer, span, &read(&*reference, layer, &blocks, 0, end)).unwrap();
        }
        let next = || vec![part(&tokens, end, end + 1, &blocks, LogitsWanted::All)];
        let apart = difference(&step(&mut *ours, next()).data, &step(&mut *reference, next()).data);
        assert!(apart < TOLERANCE, "{name}: {apart} after {end} tokens of the same KV");
    }
}

#[test]
fn agrees_with_the_reference_backend_on_every_family() {
    for family in Family::ALL {
        let tiny = TinyModel::new(family);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            compare(&format!("{family:?} {dtype:?}"), &Files::huggingface(&tiny, dtype, 1).load());
        }
        for dtype in [GgmlDType::F32, GgmlDType::Q4_1] {
            compare(&format!("{family:?} GGUF {dtype:?}"), &Files::gguf(&tiny, dtype).load());
        }
    }
}

#[test]
fn agrees_with_the_reference_backend_on_every_encoding() {
    let tiny = TinyModel::new(Family::Llama).with_hidden(256);
    for encoding in ENCODINGS {
        compare(&format!("{encoding:?}"), &Files::gguf(&tiny, encoding).load());
    }
}

/// Prefill in chunks below and above the size at which kernels change, then two sequences decoding beside the prefill of
/// a third. Gives all logits and the first sequence's KV.
fn history(backend: &mut dyn Backend, vocab: usize) -> (Vec<u32>, Vec<u8>) {
    let prompts: Vec<Vec<u32>> = (0..3).map(|seed| text(seed, LENGTH, vocab)).collect();
    let tables: Vec<Vec<u32>> = (0..3).map(|index| table(index * 11, LENGTH)).collect();
    let piece = |sequence: usize, start, end| {
        part(&prompts[sequence], start, end, &tables[sequence], LogitsWanted::All)
    };
    let steps = [
        vec![piece(0, 0, 5)],
        vec![piece(0, 5, 52), piece(1, 0, 1)],
        vec![piece(0, 52, 53), piece(1, 1, 2), piece(2, 0, 40)],
        vec![piece(0, 53, 54), piece(1, 2, 3)],
        vec![piece(0, 54, 140)],
        vec![piece(0, 140, LENGTH)],
    ];
    let all: Vec<f32> = steps.into_iter().flat_map(|sequences| step(backend, sequences).data).collect();
    let layers = backend.kv_shape().layers;
    (bits(&all), (0..layers).flat_map(|layer| read(backend, layer, &tables[0], 0, LENGTH)).collect())
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bits() {
    for family in Family::ALL {
        let model = Files::huggingface(&TinyModel::new(family), DType::BF16, 1).load();
        let expected = history(&mut on(Isa::Scalar, 1, &model), model.config.vocab);
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let got = history(&mut on(isa, threads, &model), model.config.vocab);
                assert!(got == expected, "{family:?} on {isa:?} with {threads} threads");
            }
        }
    }
}

#[test]
fn every_encoding_gives_the_same_bits_on_every_instruction_set() {
    let tiny = TinyModel::new(Family::Llama);
    // Those that the kernels know; all others are decoded at load.
    for encoding in [GgmlDType::F32, GgmlDType::BF16, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0] {
        let model = Files::gguf(&tiny, encoding).load();
        let expected = history(&mut on(Isa::Scalar, 1, &model), model.config.vocab);
        for isa in Isa::available() {
            let got = history(&mut on(isa, 2, &model), model.config.vocab);
            assert!(got == expected, "{encoding:?} on {isa:?}");
        }
    }
}

/// A model in which no size is a whole number of vectors, tiles or groups.
fn ragged_model() -> Model {
    let mut model = Files::huggingface(&TinyModel::new(Family::Qwen3), DType::F32, 1).load();
    let (hidden, heads, kv_heads, head_dim, intermediate, vocab) = (42, 6, 2, 24, 70, 77);
    let mut seed = 0;
    let mut values = |count: usize, reach: f32| -> Vec<f32> {
        seed += 1;
        text(seed, count, 2001).iter().map(|value| (*value as f32 / 1000.0 - 1.0) * reach).collect()
    };
    let mut matrix = |rows: usize, columns: usize| {
        let values = values(rows * columns, 3.0 / (columns as f32).sqrt());
        let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        Matrix { rows, columns, data: MatrixData::Dense(tensor) }
    };
    model.weights.embedding = matrix(vocab, hidden);
    model.weights.output = Some(matrix(vocab, hidden));
    model.weights.norm.truncate(hidden);
    for layer in &mut model.weights.layers {
        layer.q = matrix(heads * head_dim, hidden);
        layer.k = matrix(kv_heads * head_dim, hidden);
        layer.v = matrix(kv_heads * head_dim, hidden);
        layer.o = matrix(hidden, heads * head_dim);
        layer.ffn = FeedForward::Dense {
            gate: matrix(intermediate, hidden),
            up: matrix(intermediate, hidden),
            down: matrix(hidden, intermediate),
        };
        for (norm, length) in [
            (&mut layer.attention_norm, hidden),
            (&mut layer.ffn_norm, hidden),
            (layer.q_norm.as_mut().unwrap(), head_dim),
            (layer.k_norm.as_mut().unwrap(), head_dim),
        ] {
            norm.truncate(length);
        }
    }
    let config = ModelConfig { hidden, heads, kv_heads, head_dim, intermediate, vocab, ..model.config };
    Model { config, ..model }
}

#[test]
fn sizes_that_fit_nothing() {
    let model = ragged_model();
    compare("ragged", &model);
    let expected = history(&mut on(Isa::Scalar, 1, &model), model.config.vocab);
    for isa in Isa::available() {
        assert!(history(&mut on(isa, 2, &model), model.config.vocab) == expected, "{isa:?}");
    }
}

/// The kernels take columns in pairs.
#[test]
fn an_odd_width_is_refused() {
    let mut model = ragged_model();
    let FeedForward::Dense { down, .. } = &mut model.weights.layers[1].ffn;
    let odd = Tensor::zeros((42, 71), DType::F32, &Device::Cpu).unwrap();
    *down = Matrix { rows: 42, columns: 71, data: MatrixData::Dense(odd) };
    let options = CpuOptions { threads: 1, isa: None, kv_blocks: 1 };
    let error = CpuBackend::new(&model, options).unwrap_err().to_string();
    assert!(error.contains("71 columns"), "{error}");
}

/// KV that one instruction set computed serves another as its own.
#[test]
fn kv_may_move_between_different_machines() {
    let model = Files::huggingface(&TinyModel::new(Family::Qwen3), DType::BF16, 1).load();
    let tokens = text(5, LENGTH, model.config.vocab);
    let (here, there) = (table(2, LENGTH), table(7, LENGTH));
    let stayed = bits(&logits(&mut on(Isa::Scalar, 1, &model), &tokens, LENGTH));
    for isa in Isa::available() {
        for moved in [33, 149] {
            let (mut source, mut target) = (on(Isa::best(), 2, &model), on(isa, 1, &model));
            step(&mut source, vec![part(&tokens, 0, moved, &here, LogitsWanted::None)]);
            for layer in 0..model.config.layers {
                let data = read(&source, layer, &here, 0, moved);
                let span = KvSpan { block_table: &there, start: 0, end: moved };
                target.write_kv(layer, span, &data).unwrap();
            }
            let rest = step(&mut target, vec![part(&tokens, moved, LENGTH, &there, LogitsWanted::All)]);
            assert!(bits(&rest.data) == stayed[moved * model.config.vocab..], "{moved} moved to {isa:?}");
        }
    }
}

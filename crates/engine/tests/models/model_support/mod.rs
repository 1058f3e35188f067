//! Shared by the tests of models and of the reference backend.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

use std::error::Error;
use std::path::{Path, PathBuf};

use ampd_engine::backend::{
    BLOCK_TOKENS, Backend, BatchSequence, KvRead, KvSpan, Logits, LogitsWanted, RaggedBatch,
};
use ampd_engine::model::{self, Model};
use ampd_engine::tensor::TensorBackend;
use ampd_engine::{BackendKind, build_backend};
use ampd_testkit::tiny_model::TinyModel;
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use tempfile::TempDir;

/// Blocks of a test's pool: more than any test's sequences take.
pub const BLOCKS: usize = 32;

/// A model's files; they go when this does.
pub struct Files {
    /// Is removed with this value.
    _folder: TempDir,
    pub path: PathBuf,
}

impl Files {
    pub fn huggingface(tiny: &TinyModel, dtype: DType, shards: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny.write_huggingface(folder.path(), dtype, shards).unwrap();
        let path = folder.path().to_owned();
        Self { _folder: folder, path }
    }

    pub fn gguf(tiny: &TinyModel, dtype: GgmlDType) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny.write_gguf(&path, dtype).unwrap();
        Self { _folder: folder, path }
    }

    pub fn load(&self) -> Model {
        model::load(&self.path).unwrap()
    }
}

/// The whole chain of errors that loading `path` gives.
pub fn refusal(path: &Path) -> String {
    let mut error: Option<&dyn Error> = Some(&model::load(path).unwrap_err());
    let mut chain = Vec::new();
    while let Some(link) = error {
        chain.push(link.to_string());
        error = link.source();
    }
    chain.join(": ")
}

/// A backend of production.
pub fn backend(kind: BackendKind, model: &Model) -> Box<dyn Backend> {
    build_backend(model, kind, 2, BLOCKS).unwrap()
}

/// Makes a test of each function, for each backend.
#[macro_export]
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        mod cpu { $(#[test] fn $name() { super::$name(ampd_engine::BackendKind::Cpu); })* }
        mod tensor { $(#[test] fn $name() { super::$name(ampd_engine::BackendKind::Tensor); })* }
    };
}

/// A backend that rounds nothing.
pub fn exact_backend(model: &Model) -> TensorBackend {
    TensorBackend::with_kv_dtype(model, Device::Cpu, BLOCKS, DType::F32).unwrap()
}

/// `count` tokens below `vocab` that depend on `seed`.
pub fn text(seed: u32, count: usize, vocab: usize) -> Vec<u32> {
    ampd_testkit::tiny_model::tokens(seed, count, 0..vocab as u32)
}

/// A block table for `tokens` tokens that takes every third block of the pool from `first` on, so that no two logical
/// neighbours are physical ones.
pub fn table(first: u32, tokens: usize) -> Vec<u32> {
    (0..tokens.div_ceil(BLOCK_TOKENS) as u32).map(|index| (first + 3 * index) % BLOCKS as u32).collect()
}

/// The part `start..end` of `tokens` as a sequence of a batch.
pub fn part(
    tokens: &[u32],
    start: usize,
    end: usize,
    block_table: &[u32],
    logits: LogitsWanted,
) -> BatchSequence {
    BatchSequence { tokens: tokens[start..end].to_vec(), start, block_table: block_table.to_vec(), logits }
}

pub fn step(backend: &mut dyn Backend, sequences: Vec<BatchSequence>) -> Logits {
    backend.step(&RaggedBatch { sequences }, &mut |_, _| {}).unwrap()
}

/// Logits of every token, computed in steps of `chunk` tokens.
pub fn logits(backend: &mut dyn Backend, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let blocks = table(5, tokens.len());
    let mut all = Vec::new();
    for start in (0..tokens.len()).step_by(chunk) {
        let end = (start + chunk).min(tokens.len());
        all.extend(step(backend, vec![part(tokens, start, end, &blocks, LogitsWanted::All)]).data);
    }
    all
}

pub fn read(kv: &dyn KvRead, layer: usize, block_table: &[u32], start: usize, end: usize) -> Vec<u8> {
    let mut data = Vec::new();
    kv.read_kv(layer, KvSpan { block_table, start, end }, &mut data).unwrap();
    data
}

/// The largest absolute difference; the lengths must agree.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Standard deviation: how much there is to compare.
pub fn spread(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
}

/// The bits of some floats, for exact comparison.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

//! Any backend, made to fail on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ampd_engine::backend::{Backend, BackendError, KvRead, KvShape, KvSpan, Logits, RaggedBatch};
use ampd_engine::model::ModelConfig;

/// What shall go wrong, shared with the test; each stays until it is switched off.
#[derive(Clone, Default)]
pub struct Faults {
    /// Steps fail after all layers.
    pub step: Arc<AtomicBool>,
    /// The first row of logits holds a value that is not a number.
    pub nan: Arc<AtomicBool>,
    /// Copies of blocks fail.
    pub copy: Arc<AtomicBool>,
}

pub struct FaultyBackend {
    pub inner: Box<dyn Backend>,
    pub faults: Faults,
}

impl KvRead for FaultyBackend {
    fn kv_shape(&self) -> KvShape {
        self.inner.kv_shape()
    }

    fn read_kv(&self, layer: usize, span: KvSpan<'_>, out: &mut Vec<u8>) -> Result<(), BackendError> {
        self.inner.read_kv(layer, span, out)
    }
}

impl Backend for FaultyBackend {
    fn config(&self) -> &ModelConfig {
        self.inner.config()
    }

    fn step(
        &mut self,
        batch: &RaggedBatch,
        after_layer: &mut dyn FnMut(usize, &dyn KvRead),
    ) -> Result<Logits, BackendError> {
        let mut logits = self.inner.step(batch, after_layer)?;
        if self.faults.step.load(Relaxed) {
            return Err(BackendError::InvalidBatch("a fault was asked for".to_owned()));
        }
        if self.faults.nan.load(Relaxed)
            && let Some(value) = logits.data.get_mut(1)
        {
            *value = f32::NAN;
        }
        Ok(logits)
    }

    fn write_kv(&mut self, layer: usize, span: KvSpan<'_>, data: &[u8]) -> Result<(), BackendError> {
        self.inner.write_kv(layer, span, data)
    }

    fn copy_block(&mut self, from: u32, to: u32) -> Result<(), BackendError> {
        if self.faults.copy.load(Relaxed) {
            return Err(BackendError::InvalidBatch("a fault was asked for".to_owned()));
        }
        self.inner.copy_block(from, to)
    }
}

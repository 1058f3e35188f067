//! The performance model that decisions use: a profile or a guess, corrected by what is measured.

use std::sync::Arc;

use ampd_engine::backend::KvShape;
use ampd_engine::model::ModelConfig;
use ampd_perfmodel::{Calibration, PerfModel, Profile};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::error::StartError;

/// A performance model that is corrected while it is used.
#[derive(Debug)]
pub(super) struct Estimate {
    base: PerfModel,
    calibration: Mutex<Calibration>,
    current: ArcSwap<PerfModel>,
}

impl Estimate {
    pub(super) fn new(base: PerfModel) -> Self {
        let current = ArcSwap::from_pointee(base.clone());
        Self { base, calibration: Mutex::default(), current }
    }

    /// The model as corrected so far.
    pub(super) fn current(&self) -> Arc<PerfModel> {
        self.current.load_full()
    }

    /// Takes in a prefill of `increment` tokens on `history` that waited for nothing and lasted `seconds`.
    pub(super) fn prefilled(&self, history: f64, increment: f64, seconds: f64) {
        let mut calibration = self.calibration.lock();
        calibration.prefill(self.base.prefill_s(history, increment), seconds);
        self.current.store(Arc::new(self.base.calibrated(&calibration)));
    }
}

/// Reads a profile.
pub(super) fn load(path: &std::path::Path) -> Result<PerfModel, StartError> {
    let read = |source| StartError::Read { flag: "--profile", path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let profile = Profile::from_json(&text);
    Ok(profile.map_err(|source| StartError::Profile { path: path.into(), source })?.perf)
}

/// A model of a worker of which only the shape of its model is known.
pub(super) fn guess(config: &ModelConfig) -> PerfModel {
    let shape =
        KvShape { blocks: 1, layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim };
    crate::server::guess::guess(config, shape, 1)
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{PrefillSegment, Transfer};

    use super::*;

    #[test]
    fn measurements_correct_the_model() {
        let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 };
        let segment = PrefillSegment { max_increment: 100, k0: 0.0, k1: 1.0, k2: 0.0 };
        let base = PerfModel { prefill: vec![segment], decode: Vec::new(), transfer };
        let estimate = Estimate::new(base);
        for _ in 0..200 {
            estimate.prefilled(0.0, 10.0, 20.0);
        }
        let predicted = estimate.current().prefill_s(0.0, 5.0);
        assert!((9.9..10.1).contains(&predicted), "{predicted}");
    }
}

//! The performance model that decisions use: a profile or a guess, at the speed that the own worker tells.

use std::sync::Arc;

use ampd_engine::backend::KvShape;
use ampd_engine::model::ModelConfig;
use ampd_perfmodel::{PerfModel, Profile};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::error::StartError;
use super::load::Speed;

/// A performance model that is corrected while it is used.
#[derive(Debug)]
pub(super) struct Estimate {
    base: PerfModel,
    speed: Mutex<Speed>,
    current: ArcSwap<PerfModel>,
}

impl Estimate {
    pub(super) fn new(base: PerfModel) -> Self {
        let current = ArcSwap::from_pointee(base.clone());
        Self { base, speed: Mutex::default(), current }
    }

    /// The model as corrected so far.
    pub(super) fn current(&self) -> Arc<PerfModel> {
        self.current.load_full()
    }

    /// Takes in the own worker's speed, which follows what it measures. One that does not tell any changes nothing.
    pub(super) fn told(&self, speed: Speed) {
        let mut known = self.speed.lock();
        if speed != *known && speed != Speed::default() {
            *known = speed;
            self.current.store(Arc::new(self.base.at_speed(&speed.into())));
        }
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
    fn the_workers_speed_corrects_the_model() {
        let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 };
        let segment = PrefillSegment { max_increment: 100, k0: 0.0, k1: 1.0, k2: 0.0 };
        let estimate = Estimate::new(PerfModel { prefill: vec![segment], decode: Vec::new(), transfer });
        for (speed, expected) in [(Speed::default(), 5.0), (Speed { prefill_s: 1024.0, step_s: 0.0 }, 10.0)] {
            estimate.told(speed);
            let predicted = estimate.current().prefill_s(0.0, 5.0);
            assert!((predicted - expected).abs() < 1e-9, "{predicted}");
        }
        estimate.told(Speed::default());
        assert!((estimate.current().prefill_s(0.0, 5.0) - 10.0).abs() < 1e-9, "the last word holds");
    }
}

//! How many tokens of local prefills a decode worker's next step takes in.

use ampd_engine::core::{EngineLoad, EngineOptions};
use ampd_perfmodel::PerfModel;
use ampd_scheduler::{DecodeLoad, Decoding, LocalPrefill, MissCurve, Pace, Slo};

/// Paces prefills by what they and the rounds that decode have left to their objectives, anew at every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::server) struct Pacing {
    /// The objectives.
    pub slo: Slo,
}

impl Pacing {
    /// Rows of prompts that the next step takes in, all together. `None` where nothing waits and where the performance
    /// model predicts nothing: then the engine's own chunk holds.
    pub(super) fn rows(
        &self,
        perf: &PerfModel,
        options: &EngineOptions,
        load: &EngineLoad,
        (decoding, waiting): (&[Decoding], &[LocalPrefill]),
    ) -> Option<usize> {
        if perf.reference().prefill_s <= 0.0 {
            return None;
        }
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let load = DecodeLoad {
            running: narrow(load.running_decodes),
            mean_context: load.mean_context,
            ..DecodeLoad::default()
        };
        let pace = Pace {
            slo: self.slo,
            load,
            decoding,
            waiting,
            token_budget: narrow(options.token_budget),
            model: perf,
            ttft: MissCurve::TTFT_PACED,
            itl: MissCurve::ITL,
            price: Pace::PRICE,
        };
        pace.best(None).map(|outcome| outcome.chunk as usize)
    }
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{DecodeSegment, PrefillSegment, Transfer};

    use super::*;

    const PACING: Pacing = Pacing { slo: Slo { ttft_s: 2.0, itl_s: 0.05 } };

    /// A millisecond for each token of a prompt.
    fn perf() -> PerfModel {
        PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1e-3, k2: 0.0 }],
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.01, k1: 0.0, k2: 0.0 }],
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        }
    }

    fn rows(perf: &PerfModel, share: f64, waiting: &[LocalPrefill]) -> Option<usize> {
        let decoding = vec![Decoding { tokens: 50, elapsed_s: 50.0 * 0.05 * share, expected: 50.0 }; 8];
        let load = EngineLoad { running_decodes: 8, mean_context: 100.0, ..EngineLoad::default() };
        PACING.rows(perf, &EngineOptions::default(), &load, (&decoding, waiting))
    }

    #[test]
    fn prompts_wait_for_rounds_that_are_near_their_objective_and_not_for_others() {
        let waiting = [LocalPrefill { history: 0, remaining: 600, age_s: 0.0 }];
        let (calm, tight) = (rows(&perf(), 0.2, &waiting).unwrap(), rows(&perf(), 1.7, &waiting).unwrap());
        assert!(tight < calm && tight >= 32, "{tight} {calm}");
        assert!(calm <= EngineOptions::default().token_budget, "{calm}");
        assert_eq!(rows(&perf(), 0.2, &[]), None);
    }

    #[test]
    fn without_predictions_the_engines_own_chunk_holds() {
        let unknown = PerfModel { prefill: Vec::new(), ..perf() };
        assert_eq!(rows(&unknown, 0.2, &[LocalPrefill { history: 0, remaining: 600, age_s: 0.0 }]), None);
    }
}

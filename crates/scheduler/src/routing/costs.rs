//! Predicted finishing times of both options.

use ampd_perfmodel::sane;

use super::{PrefillLoad, RouteInput};

/// Predicted seconds from now until the prefill has finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// On the bound decode worker.
    pub local_s: f64,
    /// On the ready prefill worker that finishes first, with its index.
    pub best_remote: Option<(usize, f64)>,
}

/// A ratio that can be multiplied with: nonsense counts as no deviation.
fn ratio(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value } else { 1.0 }
}

impl Costs {
    /// AMPD's two finishing times (arXiv 2602.14516): local = local prefill queue + `T_pre`; remote = that worker's
    /// queue + `T_kv`(history there) + `T_pre` + `T_kv`(increment back). A worker that still caches part of the history
    /// pulls the rest only, and pulls it while it waits in the queue; one that caches more than the decode worker still
    /// has computes less.
    #[must_use]
    pub fn predict(input: &RouteInput<'_>) -> Self {
        let prefill_s = input.model.prefill_s(f64::from(input.history), f64::from(input.increment));
        let local_s = sane(input.decode.queued_prefill_s) + prefill_s;
        Self { local_s, best_remote: Self::best_remote_of(input, |_| true) }
    }

    /// The ready prefill worker that is predicted to finish first among those that `considered` lets through, with its
    /// predicted seconds.
    pub(super) fn best_remote_of(
        input: &RouteInput<'_>,
        considered: impl Fn(&PrefillLoad) -> bool,
    ) -> Option<(usize, f64)> {
        input
            .prefills
            .iter()
            .enumerate()
            .filter(|(_, load)| load.ready && considered(load))
            .map(|(index, _)| (index, Self::remote_s(input, index)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The at most `count` ready prefill workers that are predicted to finish first, the first one first: those whose
    /// load of the moment is worth asking for before a decision.
    #[must_use]
    pub fn ranked(input: &RouteInput<'_>, count: usize) -> Vec<usize> {
        let ready = input.prefills.iter().enumerate().filter(|(_, load)| load.ready);
        let mut costs: Vec<(f64, usize)> =
            ready.map(|(index, _)| (Self::remote_s(input, index), index)).collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        costs.into_iter().take(count).map(|(_, index)| index).collect()
    }

    /// Predicted seconds on prefill worker `index` of the input.
    #[must_use]
    pub fn remote_s(input: &RouteInput<'_>, index: usize) -> f64 {
        let Some(load) = input.prefills.get(index) else { return f64::INFINITY };
        let known = load.known(input.history, input.increment);
        let missing = input.history.saturating_sub(load.cached_history.unwrap_or(0));
        let pull_s = input.model.transfer_s(f64::from(missing));
        let left = f64::from(input.history) + f64::from(input.increment) - f64::from(known);
        let prefill_s = input.model.prefill_s(f64::from(known), left);
        let return_s = input.model.transfer_s(f64::from(input.increment));
        sane(load.backlog_s).max(pull_s) + prefill_s * ratio(load.prefill_ratio) + return_s
    }
}

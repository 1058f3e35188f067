//! What one round took, against its objectives: metrics, and one line in the log.

use std::sync::Arc;
use std::time::Instant;

use ampd_telemetry::table::sidecar::round_class;

use super::attainment::Ended;
use super::choice::RoundContext;
use super::wire::Decided;
use crate::protocol::{Fallback, PrefillPlace, RoundDone, RoundEvent};

/// The account of one round; a round that is dropped before it ended counts as cancelled.
pub(super) struct Record {
    context: Arc<RoundContext>,
    decided: Option<Decided>,
    place: PrefillPlace,
    fallback: Option<Fallback>,
    first: Option<Instant>,
    last: Option<Instant>,
    tokens: u64,
    done: Option<RoundDone>,
    ended: bool,
}

impl Record {
    pub(super) fn new(context: Arc<RoundContext>) -> Self {
        Self {
            context,
            decided: None,
            place: PrefillPlace::Local,
            fallback: None,
            first: None,
            last: None,
            tokens: 0,
            done: None,
            ended: false,
        }
    }

    pub(super) fn decided(&mut self, decided: &Decided) {
        self.place = decided.place;
        self.decided = Some(decided.clone());
    }

    pub(super) fn event(&mut self, event: &RoundEvent) {
        match event {
            RoundEvent::Prefill(report) => (self.place, self.fallback) = (report.place, report.fallback),
            RoundEvent::Tokens(tokens) => {
                let now = Instant::now();
                self.first.get_or_insert(now);
                self.last = Some(now);
                self.tokens += tokens.len() as u64;
            }
            RoundEvent::Done(done) => self.done = Some(*done),
            RoundEvent::PromptLogprobs(_) | RoundEvent::Ping {} | RoundEvent::Error(_) => {}
        }
    }

    /// Ends the account. `outcome` is a value of the metric's label.
    pub(super) fn end(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let metrics = &self.context.shared.metrics;
        metrics.rounds.with([outcome]).inc();
        metrics.tokens.with(["output"]).inc_by(self.tokens);
        let number = self.decided.as_ref().map_or(0, |decided| decided.round);
        if let Some(decided) = &self.decided {
            metrics.tokens.with(["prompt"]).inc_by(decided.increment);
            metrics.tokens.with(["history"]).inc_by(decided.history);
            metrics.round_increment_tokens.observe(decided.increment as f64);
            metrics.round_history_tokens.observe(decided.history as f64);
        }
        let ttft_s = self.first.map(|first| first.duration_since(self.context.arrived).as_secs_f64());
        if let Some(ttft_s) = ttft_s {
            let class = [round_class(number), place(self.place)];
            metrics.round_ttft_seconds.with(class).observe(ttft_s);
        }
        let itl_s = self.itl_s();
        if let Some(itl_s) = itl_s {
            metrics.round_itl_seconds.observe(itl_s);
        }
        if outcome == "ok" {
            self.attained(ttft_s, itl_s);
        }
        self.log(outcome, ttft_s, itl_s);
    }

    /// Mean time between tokens; a round of one token has none.
    fn itl_s(&self) -> Option<f64> {
        let (first, last) = (self.first?, self.last?);
        (self.tokens > 1).then(|| last.duration_since(first).as_secs_f64() / (self.tokens - 1) as f64)
    }

    /// What has no time between tokens cannot miss its objective; what has no token (only a prompt's log-probabilities
    /// were asked for) neither.
    fn attained(&self, ttft_s: Option<f64>, itl_s: Option<f64>) {
        let slo = self.context.shared.config.slo;
        let ttft = ttft_s.is_none_or(|ttft_s| ttft_s <= slo.ttft_s);
        let itl = itl_s.is_none_or(|itl_s| itl_s <= slo.itl_s);
        for (objective, attained) in [("ttft", ttft), ("itl", itl), ("both", ttft && itl)] {
            if attained {
                self.context.shared.metrics.rounds_attained.with([objective]).inc();
            }
        }
        // A remote prefill that failed was late because of where it was to run.
        let place = if self.fallback.is_some() { PrefillPlace::Remote } else { self.place };
        let number = self.decided.as_ref().map(|decided| decided.round);
        self.context.shared.round_ended(Ended::Answered { ttft, itl, place }, number);
    }

    fn log(&self, outcome: &'static str, ttft_s: Option<f64>, itl_s: Option<f64>) {
        let decided = self.decided.as_ref();
        let ms = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1e6).round() / 1e3);
        tracing::info!(
            session = self.context.session.shown,
            request_id = self.context.request_id,
            round = decided.map(|decided| decided.round),
            outcome,
            target = decided.map(|decided| place(decided.place)),
            reason = decided.map(|decided| decided.reason.as_str()),
            prefill = place(self.place),
            prefill_worker = decided.and_then(|decided| decided.worker.as_deref()),
            fallback = self.fallback.map(Fallback::as_str),
            history = decided.map(|decided| decided.history),
            increment = decided.map(|decided| decided.increment),
            output = self.tokens,
            predicted_local_ms = ms(decided.map(|decided| decided.local_s)),
            predicted_remote_ms = ms(decided.and_then(|decided| decided.remote_s)),
            ttft_ms = ms(ttft_s),
            itl_ms = ms(itl_s),
            total_ms = ms(Some(self.context.arrived.elapsed().as_secs_f64())),
            "round"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

/// The name of a place in labels, headers and logs.
pub(super) fn place(place: PrefillPlace) -> &'static str {
    match place {
        PrefillPlace::Local => "local",
        PrefillPlace::Remote => "remote",
    }
}

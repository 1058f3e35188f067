//! A running round as its caller sees it.

use std::sync::Arc;
use std::time::Duration;

use ampd_engine::core::{Event, TokenLogprob as Told};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::table::Running;
use crate::protocol::{
    ErrorCode, ErrorDetail, FinishReason, OutputToken, PrefillPlace, PrefillReport, RoundDone, RoundEvent,
    TokenLogprob,
};
use crate::server::engine::RoundGuard;
use crate::server::error::round_detail;
use crate::server::front::Worker;

/// Log-probabilities of a prompt in one event: those of a long prompt would exceed what a line may have.
const LOGPROBS_AT_ONCE: usize = 4096;
/// Longest silence of a stream.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Where the prefill runs.
pub(super) enum Prefill {
    /// Here.
    Local,
    /// Elsewhere, in the end maybe here.
    Remote(BoxFuture<'static, Result<PrefillReport, ErrorDetail>>),
    /// That is settled and told.
    Settled,
}

/// The events of a running round. Dropping it cancels the round.
pub(super) struct RoundRun {
    worker: Arc<Worker>,
    entry: Running,
    events: mpsc::Receiver<Event>,
    prefill: Prefill,
    /// An event that was taken from the channel and not told yet.
    pending: Option<Event>,
    /// Ends what is left of all rounds when the worker shuts down.
    cut: CancellationToken,
    place: PrefillPlace,
    /// Whether the last event was told.
    ended: bool,
    _guard: RoundGuard,
}

impl RoundRun {
    pub(super) fn new(
        worker: Arc<Worker>,
        guard: RoundGuard,
        entry: Running,
        events: mpsc::Receiver<Event>,
        prefill: Prefill,
        cut: CancellationToken,
    ) -> Self {
        Self {
            worker,
            entry,
            events,
            prefill,
            pending: None,
            cut,
            place: PrefillPlace::Local,
            ended: false,
            _guard: guard,
        }
    }

    /// The next event; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<RoundEvent> {
        if self.ended {
            return None;
        }
        let event = tokio::select! {
            biased;
            () = self.cut.cancelled() => {
                error(ErrorCode::Draining, "the worker shut down before the round was complete")
            }
            () = self.entry.cancelled() => error(ErrorCode::Cancelled, "the round was cancelled"),
            event = progress(&mut self.prefill, &mut self.events, &mut self.pending) => event,
            () = tokio::time::sleep(PING_EVERY) => RoundEvent::Ping {},
        };
        self.count(&event);
        Some(event)
    }

    fn count(&mut self, event: &RoundEvent) {
        let metrics = &self.worker.stats.metrics();
        let outcome = match event {
            RoundEvent::Prefill(report) => {
                self.place = report.place;
                if let Some(reason) = report.fallback {
                    metrics.prefills.with(["remote", "error"]).inc();
                    metrics.remote_fallbacks.with([reason.as_str()]).inc();
                }
                return;
            }
            RoundEvent::Done(done) => {
                let place = match self.place {
                    PrefillPlace::Local => "local",
                    PrefillPlace::Remote => "remote",
                };
                metrics.prefills.with([place, "ok"]).inc();
                metrics.tokens.with(["prompt"]).inc_by((done.prompt_tokens - done.history) as u64);
                metrics.tokens.with(["history"]).inc_by(done.history as u64);
                metrics.tokens.with(["output"]).inc_by(done.output_tokens as u64);
                "ok"
            }
            RoundEvent::Error(detail) if detail.code == ErrorCode::Cancelled => "cancelled",
            RoundEvent::Error(_) => "error",
            _ => return,
        };
        metrics.rounds.with([outcome]).inc();
        self.ended = true;
    }
}

impl Drop for RoundRun {
    fn drop(&mut self) {
        if !self.ended {
            self.worker.stats.metrics().rounds.with(["cancelled"]).inc();
        }
    }
}

fn error(code: ErrorCode, message: &str) -> RoundEvent {
    RoundEvent::Error(ErrorDetail::new(code, message))
}

/// What happens next. May be dropped while it waits: nothing is lost.
async fn progress(
    prefill: &mut Prefill,
    events: &mut mpsc::Receiver<Event>,
    pending: &mut Option<Event>,
) -> RoundEvent {
    let settled = match prefill {
        Prefill::Local => Ok(PrefillReport {
            place: PrefillPlace::Local,
            worker: None,
            fallback: None,
            queue_s: 0.0,
            seconds: 0.0,
            pulled_tokens: 0,
            cached_tokens: 0,
        }),
        Prefill::Remote(remote) => remote.await,
        Prefill::Settled => {
            let event = match pending.take() {
                Some(event) => Some(event),
                None => events.recv().await,
            };
            return tell(event, events, pending);
        }
    };
    *prefill = Prefill::Settled;
    settled.map_or_else(RoundEvent::Error, RoundEvent::Prefill)
}

/// Puts the engine's event into the protocol's form, together with the tokens that have come since.
fn tell(event: Option<Event>, events: &mut mpsc::Receiver<Event>, pending: &mut Option<Event>) -> RoundEvent {
    match event {
        Some(Event::Token { id, logprob, top, .. }) => {
            let mut tokens = vec![OutputToken { id, logprob, top }];
            while let Ok(event) = events.try_recv() {
                if let Event::Token { id, logprob, top, .. } = event {
                    tokens.push(OutputToken { id, logprob, top });
                } else {
                    *pending = Some(event);
                    break;
                }
            }
            RoundEvent::Tokens(tokens)
        }
        Some(Event::PromptLogprobs { round, mut tokens }) => {
            let rest = tokens.split_off(tokens.len().min(LOGPROBS_AT_ONCE));
            if !rest.is_empty() {
                *pending = Some(Event::PromptLogprobs { round, tokens: rest });
            }
            let told = |token: Told| TokenLogprob { id: token.id, logprob: token.logprob, top: token.top };
            RoundEvent::PromptLogprobs(tokens.into_iter().map(told).collect())
        }
        Some(Event::Finished { reason, prompt_tokens, history, output_tokens, .. }) => {
            let finish_reason = match reason {
                ampd_engine::core::FinishReason::Stop => FinishReason::Stop,
                ampd_engine::core::FinishReason::Length => FinishReason::Length,
            };
            RoundEvent::Done(RoundDone { finish_reason, prompt_tokens, history, output_tokens })
        }
        Some(Event::Failed { error, .. }) => RoundEvent::Error(round_detail(&error)),
        // A session's round is never told the end of a prefill.
        Some(Event::PrefillDone { .. }) => error(ErrorCode::Internal, "the round ended as a prefill"),
        None => error(ErrorCode::EngineFailed, "the engine has stopped"),
    }
}

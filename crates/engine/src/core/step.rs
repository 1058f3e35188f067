//! Running a step's parts and taking up its results.

use std::time::Instant;

use super::event::{Event, FinishReason, RoundError, StepReport, TokenLogprob};
use super::plan::Part;
use super::round::{Kind, Round, Serve};
use super::{Engine, EngineError, LayerHook, RoundId};
use crate::backend::{BLOCK_TOKENS, BatchSequence, KvSpan, Logits, LogitsWanted, RaggedBatch};
use crate::kv::ChainHash;
use crate::sampling::{Distribution, NonFinite};

impl RoundError {
    /// A backend's failure with its causes.
    pub(super) fn backend(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        Self::Backend { message }
    }
}

impl Engine {
    /// Runs one step: decode rows first, then prefill chunks under the token budget. Rounds that fail are told in the
    /// report.
    ///
    /// # Errors
    /// `Ledger` when the bookkeeping is found broken: a defect of the engine.
    pub fn step(&mut self, now: Instant, hook: &mut dyn LayerHook) -> Result<StepReport, EngineError> {
        self.kv.advance(now);
        let mut report = StepReport::default();
        let parts = self.plan(&mut report);
        if !parts.is_empty() {
            match self.compute(&parts, hook) {
                Ok(logits) => self.take_up(&parts, &logits, &mut report),
                // The backend does not say whose rows made it fail.
                Err(error) => {
                    for part in &parts {
                        self.fail(part.round, error.clone(), &mut report);
                    }
                }
            }
        }
        self.kv.intact()?;
        Ok(report)
    }

    fn compute(&mut self, parts: &[Part], hook: &mut dyn LayerHook) -> Result<Logits, RoundError> {
        let mut batch = RaggedBatch::default();
        let mut shown = Vec::new();
        for part in parts {
            let Some(round) = self.rounds.get(&part.round) else { continue };
            if let Kind::Prefill { shown: before } = round.kind
                && before < part.end
            {
                shown.push((part.round, batch.sequences.len(), part.start.max(before)..part.end));
            }
            batch.sequences.push(BatchSequence {
                tokens: round.tokens[part.start..part.end].to_vec(),
                start: part.start,
                block_table: round.blocks.clone(),
                logits: part.logits,
            });
        }
        let logits = self
            .backend
            .step(&batch, &mut |layer, kv| {
                for (round, place, tokens) in &shown {
                    let block_table = &batch.sequences[*place].block_table;
                    let span = KvSpan { block_table, start: tokens.start, end: tokens.end };
                    hook.after_layer(layer, *round, tokens.clone(), kv, span);
                }
            })
            .map_err(|error| RoundError::backend(&error))?;
        let expected: usize = parts.iter().map(Part::logits_rows).sum();
        let vocab = self.backend.config().vocab;
        if logits.vocab != vocab || logits.data.len() != expected * vocab {
            let message = format!(
                "{} logits of {} tokens, expected {expected} rows of {vocab}",
                logits.data.len(),
                logits.vocab
            );
            return Err(RoundError::Backend { message });
        }
        Ok(logits)
    }

    fn take_up(&mut self, parts: &[Part], logits: &Logits, report: &mut StepReport) {
        let mut row = 0;
        for part in parts {
            let rows: Vec<&[f32]> = (row..row + part.logits_rows()).map(|row| logits.row(row)).collect();
            row += rows.len();
            if let Some(round) = self.rounds.get_mut(&part.round) {
                round.computed = part.end;
            }
            self.seal(part.round);
            let context = self.backend.config().max_context;
            let Some(round) = self.rounds.get_mut(&part.round) else { continue };
            let outcome = match &mut round.kind {
                Kind::Prefill { shown } => {
                    *shown = part.end.max(*shown);
                    if round.remaining() == 0 {
                        self.finish_prefill(part.round, report);
                    }
                    continue;
                }
                Kind::Serve(serve) => {
                    let (tokens, candidates) = (&mut round.tokens, &mut self.candidates);
                    let mut output = Output { id: part.round, serve, tokens, context, candidates };
                    output.take_up(part, &rows, &mut report.events)
                }
                // It takes part in no step.
                Kind::Move { .. } => continue,
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(reason)) => self.finish(part.round, reason, report),
                Err(NonFinite) => self.fail(part.round, RoundError::NonFiniteLogits, report),
            }
        }
    }

    fn finish(&mut self, id: RoundId, reason: FinishReason, report: &mut StepReport) {
        let Some(round) = self.rounds.get(&id) else { return };
        if let Kind::Serve(serve) = &round.kind {
            report.events.push(Event::Finished {
                round: id,
                reason,
                prompt_tokens: serve.prompt,
                history: serve.history,
                output_tokens: round.tokens.len() - serve.prompt,
            });
        }
        let computed = round.computed;
        self.end(id, computed);
    }

    /// Offers the round's whole valid blocks to the prefix cache.
    pub(super) fn seal(&mut self, id: RoundId) {
        let Some(round) = self.rounds.get_mut(&id) else { return };
        let Round { tokens, blocks, chain, sealed, computed, salt, .. } = round;
        while *sealed < *computed / BLOCK_TOKENS {
            let place = *sealed;
            let parent = match place.checked_sub(1).and_then(|before| chain.get(before)) {
                Some(parent) => *parent,
                None => ChainHash::root(salt),
            };
            let content = &tokens[place * BLOCK_TOKENS..(place + 1) * BLOCK_TOKENS];
            let hash = self.kv.seal(parent, content, blocks[place]);
            if chain.len() == place {
                chain.push(hash);
            }
            *sealed += 1;
        }
    }
}

impl Part {
    /// Rows of logits that the part gives.
    fn logits_rows(&self) -> usize {
        match self.logits {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => self.end - self.start,
        }
    }
}

/// A session's round at the moment its logits arrive.
struct Output<'a> {
    id: RoundId,
    serve: &'a mut Serve,
    tokens: &'a mut Vec<u32>,
    context: usize,
    candidates: &'a mut Vec<(u32, f32)>,
}

impl Output<'_> {
    /// Takes up the rows' logits; the reason if the round ends with them.
    fn take_up(
        &mut self,
        part: &Part,
        rows: &[&[f32]],
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, NonFinite> {
        self.collect_prompt(part, rows)?;
        let Some(last) = rows.last().filter(|_| part.end == self.tokens.len()) else { return Ok(None) };
        if let Some(prompt) = self.serve.prompt_logprobs.take() {
            events.push(Event::PromptLogprobs { round: self.id, tokens: prompt.tokens });
        }
        if self.serve.max_tokens == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let index = self.tokens.len() - self.serve.prompt;
        let id = self.serve.sampler.sample(last, index, self.candidates)?;
        let (logprob, top) = match self.serve.logprobs {
            Some(count) => {
                let distribution = Distribution::new(last);
                (Some(distribution.logprob(id)), distribution.top(count))
            }
            None => (None, Vec::new()),
        };
        self.serve.sampler.push(id);
        self.tokens.push(id);
        events.push(Event::Token { round: self.id, index, id, logprob, top });
        Ok(if self.serve.stop_tokens.contains(&id) {
            Some(FinishReason::Stop)
        } else if index + 1 >= self.serve.max_tokens || self.tokens.len() >= self.context {
            Some(FinishReason::Length)
        } else {
            None
        })
    }

    /// Notes the log-probabilities of prompt tokens, each given by the row before it. A round that starts over gets to
    /// rows again that it has noted.
    fn collect_prompt(&mut self, part: &Part, rows: &[&[f32]]) -> Result<(), NonFinite> {
        let Some(prompt) = &mut self.serve.prompt_logprobs else { return Ok(()) };
        for (position, row) in (part.start..part.end).zip(rows) {
            let next = position + 1;
            if next >= self.serve.prompt || prompt.tokens.len() != position {
                continue;
            }
            if !row.iter().all(|logit| logit.is_finite()) {
                return Err(NonFinite);
            }
            let distribution = Distribution::new(row);
            let id = self.tokens[next];
            let (logprob, top) = (distribution.logprob(id), distribution.top(prompt.top));
            prompt.tokens.push(TokenLogprob { id, logprob, top });
        }
        Ok(())
    }
}

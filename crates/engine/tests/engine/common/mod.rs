//! Shared by the engine's tests: backends to run them on, requests, and a driver that checks the ledger after each step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

pub mod content;
pub mod faulty;
pub mod model;
pub mod transfer;

use std::collections::BTreeMap;
use std::time::Instant;

use ampd_engine::backend::Backend;
use ampd_engine::core::{
    Engine, EngineOptions, Event, FinishReason, LayerHook, NoHook, RoundError, RoundId, RoundRequest,
    Sampling, StepReport, TokenLogprob,
};
use ampd_engine::cpu::{CpuBackend, CpuOptions};
use ampd_engine::model::{Architecture, ModelConfig, Rope, RopeScaling};
use ampd_engine::tensor::TensorBackend;
use candle_core::Device;
use content::ContentBackend;

pub const SALT: [u8; 32] = [1; 32];
pub const VOCAB: u32 = 64;
pub const EOS: u32 = 2;

/// Makes a backend with a pool of so many blocks.
pub type MakeBackend = fn(usize) -> Box<dyn Backend>;

/// The backends that tests of what is computed run on; the others run on [`content`] alone, for its speed.
pub fn backends() -> Vec<(&'static str, MakeBackend)> {
    vec![("content", content), ("cpu", cpu), ("tensor", tensor)]
}

pub fn tiny_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        layers: 2,
        hidden: 64,
        intermediate: 128,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        vocab: VOCAB as usize,
        max_context: 512,
        rms_eps: 1e-5,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None, interleaved: false, factors: None },
        bos: Some(1),
        eos: vec![EOS],
    }
}

pub fn content(blocks: usize) -> Box<dyn Backend> {
    Box::new(ContentBackend::new(&tiny_config(), blocks))
}

pub fn cpu(blocks: usize) -> Box<dyn Backend> {
    let options = CpuOptions { threads: 2, isa: None, kv_blocks: blocks };
    Box::new(CpuBackend::new(&model::random(&tiny_config()), options).unwrap())
}

pub fn tensor(blocks: usize) -> Box<dyn Backend> {
    Box::new(TensorBackend::new(&model::random(&tiny_config()), Device::Cpu, blocks).unwrap())
}

/// Small steps, so that a short prompt takes several.
pub fn small_steps() -> EngineOptions {
    EngineOptions { token_budget: 48, prefill_chunk: 20, max_running: 8, ..EngineOptions::default() }
}

/// `length` tokens that depend on `seed`, none of them special.
pub fn text(seed: u32, length: usize) -> Vec<u32> {
    ampd_testkit::tiny_model::tokens(seed, length, 3..VOCAB)
}

/// A seeded round of up to `max_tokens` tokens that does not stop early.
pub fn request(session: &str, tokens: Vec<u32>, max_tokens: usize) -> RoundRequest {
    let seed = Some(tokens.iter().map(|&token| u64::from(token)).sum());
    RoundRequest {
        session: session.to_owned(),
        epoch: 1,
        salt: SALT,
        tokens,
        sampling: Sampling { temperature: 0.9, top_p: 0.95, seed, ..Sampling::default() },
        max_tokens,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        logprobs: Some(2),
        prompt_logprobs: None,
    }
}

/// Log-probabilities at one place as bits, so that equality is exact: the token's own, then the most likely ones.
pub type Logprobs = Vec<(u32, u32)>;

/// What became of a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub tokens: Vec<u32>,
    pub logprobs: Vec<Logprobs>,
    pub prompt_logprobs: Option<Vec<TokenLogprob>>,
    pub finish: Option<FinishReason>,
    pub history: usize,
    pub error: Option<RoundError>,
    pub prefilled: bool,
}

impl Outcome {
    /// Output and log-probabilities: what must not depend on how the round was run.
    pub fn output(&self) -> (&[u32], &[Logprobs], Option<FinishReason>) {
        (&self.tokens, &self.logprobs, self.finish)
    }

    pub fn is_over(&self) -> bool {
        self.finish.is_some() || self.error.is_some() || self.prefilled
    }
}

/// Collects events by round and checks their order.
#[derive(Default)]
pub struct Outcomes {
    pub rounds: BTreeMap<RoundId, Outcome>,
    pub preempted: usize,
}

impl Outcomes {
    pub fn take(&mut self, report: StepReport) {
        self.preempted += report.preempted;
        for event in report.events {
            match event {
                Event::Token { round, index, id, logprob, top } => {
                    let outcome = self.rounds.entry(round).or_default();
                    assert!(!outcome.is_over());
                    assert_eq!(outcome.tokens.len(), index);
                    outcome.tokens.push(id);
                    let own = logprob.map(|logprob| (id, logprob.to_bits()));
                    let top = top.into_iter().map(|(id, logprob)| (id, logprob.to_bits()));
                    outcome.logprobs.push(own.into_iter().chain(top).collect());
                }
                Event::PromptLogprobs { round, tokens } => {
                    let outcome = self.rounds.entry(round).or_default();
                    assert!(outcome.tokens.is_empty() && outcome.prompt_logprobs.is_none());
                    outcome.prompt_logprobs = Some(tokens);
                }
                Event::Finished { round, reason, history, output_tokens, .. } => {
                    let outcome = self.rounds.entry(round).or_default();
                    assert!(!outcome.is_over());
                    assert_eq!(output_tokens, outcome.tokens.len());
                    outcome.finish = Some(reason);
                    outcome.history = history;
                }
                Event::Failed { round, error } => {
                    self.rounds.entry(round).or_default().error = Some(error);
                }
                Event::PrefillDone { round } => self.rounds.entry(round).or_default().prefilled = true,
            }
        }
    }

    pub fn get(&self, id: RoundId) -> Outcome {
        self.rounds.get(&id).cloned().unwrap_or_default()
    }
}

/// One step with its checks.
pub fn step(engine: &mut Engine, hook: &mut dyn LayerHook, outcomes: &mut Outcomes) -> bool {
    let report = engine.step(Instant::now(), hook).unwrap();
    assert!(report.decode_rows + report.prefill_rows <= engine.options().token_budget);
    let busy = !report.is_idle();
    outcomes.take(report);
    check(engine);
    busy
}

pub fn check(engine: &Engine) {
    assert!(engine.ledger().balances(), "{:?}", engine.ledger());
    engine.check_ledger().unwrap();
}

/// Steps until nothing is left to do.
pub fn drain(engine: &mut Engine, outcomes: &mut Outcomes) {
    while engine.has_work() {
        assert!(step(engine, &mut NoHook, outcomes), "no progress: {:?}", engine.load());
    }
}

/// Opens and runs a round locally to its end, alone.
pub fn run(engine: &mut Engine, request: RoundRequest) -> Outcome {
    let now = Instant::now();
    let opened = engine.open(request, now).unwrap();
    engine.run_local(opened.id, now).unwrap();
    let mut outcomes = Outcomes::default();
    drain(engine, &mut outcomes);
    outcomes.get(opened.id)
}

/// The same in an engine of its own with room for everything.
pub fn alone(make: MakeBackend, request: RoundRequest) -> Outcome {
    run(&mut Engine::new(make(64), EngineOptions::default()), request)
}

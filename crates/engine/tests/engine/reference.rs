//! Quality against an independent implementation: the reference holds what llama.cpp computes in f32 with the same
//! weights, for a text and for the rounds of several conversations.
//!
//! Needs the environment variables `AMPD_MODEL` (the model's GGUF file) and `AMPD_REFERENCE` (the reference's JSON
//! file); without them the test is skipped, except in CI.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper's failure is the test's"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use ampd_engine::backend::Backend;
use ampd_engine::core::{
    Engine, EngineOptions, Event, NoHook, RoundId, RoundRequest, Sampling, TokenLogprob,
};
use ampd_engine::{BackendKind, build_backend};
use serde::Deserialize;

/// Most that the mean negative log-likelihood of the text may differ, nats.
const NLL_TOLERANCE: f64 = 0.005;

/// Least share of the continuations' tokens that must be the most likely ones here too.
const AGREEMENT: f64 = 0.97;

#[derive(Deserialize)]
struct Reference {
    conversations: Vec<Vec<Round>>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Round {
    prompt_tokens: Vec<u32>,
    greedy: Vec<u32>,
}

#[derive(Deserialize)]
struct Text {
    tokens: Vec<u32>,
    nll_mean: f64,
    top1: Vec<u32>,
}

/// Model and reference, unless the test is to be skipped.
fn inputs() -> Option<(PathBuf, Reference)> {
    let (model, reference) = ampd_testkit::cluster::reference()?;
    let text = std::fs::read_to_string(reference).unwrap();
    Some((model, serde_json::from_str(&text).unwrap()))
}

fn backend(path: &Path, blocks: usize) -> Box<dyn Backend> {
    let model = ampd_engine::model::load(path).unwrap();
    build_backend(&model, BackendKind::Cpu, 2, blocks).unwrap()
}

/// The log-probability of each token after the first, and the most likely token at its place.
fn score(engine: &mut Engine, sequences: &[Vec<u32>]) -> Vec<Vec<TokenLogprob>> {
    let now = Instant::now();
    let mut ids: Vec<RoundId> = Vec::new();
    for (index, tokens) in sequences.iter().enumerate() {
        let request = RoundRequest {
            session: format!("sequence {index}"),
            epoch: 1,
            salt: [0; 32],
            tokens: tokens.clone(),
            sampling: Sampling::default(),
            max_tokens: 0,
            stop_tokens: Vec::new(),
            ignore_eos: true,
            logprobs: None,
            prompt_logprobs: Some(1),
        };
        let opened = engine.open(request, now).unwrap();
        engine.run_local(opened.id, now).unwrap();
        ids.push(opened.id);
    }
    let mut scores = vec![Vec::new(); ids.len()];
    while engine.has_work() {
        for event in engine.step(now, &mut NoHook).unwrap().events {
            match event {
                Event::PromptLogprobs { round, tokens } => {
                    scores[ids.iter().position(|id| *id == round).unwrap()] = tokens;
                }
                Event::Finished { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        engine.check_ledger().unwrap();
    }
    scores
}

#[test]
fn agrees_with_the_reference() {
    let Some((model, reference)) = inputs() else { return };
    let mut engine = Engine::new(backend(&model, 512), EngineOptions::default());

    for text in &reference.texts {
        let scores = score(&mut engine, std::slice::from_ref(&text.tokens)).remove(0);
        assert_eq!(scores.len(), text.tokens.len() - 1);
        let nll = scores.iter().map(|token| -f64::from(token.logprob)).sum::<f64>() / scores.len() as f64;
        let same = scores.iter().zip(&text.top1).filter(|(token, top)| token.top[0].0 == **top).count();
        println!(
            "text: mean NLL {nll:.5}, reference {:.5}; {same} of {} most likely tokens agree",
            text.nll_mean,
            scores.len()
        );
        assert!((nll - text.nll_mean).abs() <= NLL_TOLERANCE, "NLL {nll}, reference {}", text.nll_mean);
    }

    let rounds: Vec<&Round> = reference.conversations.iter().flatten().collect();
    let sequences: Vec<Vec<u32>> =
        rounds.iter().map(|round| [round.prompt_tokens.as_slice(), &round.greedy].concat()).collect();
    let scores = score(&mut engine, &sequences);
    let (mut same, mut all) = (0, 0);
    for (round, scores) in rounds.iter().zip(&scores) {
        let continuation = &scores[round.prompt_tokens.len() - 1..];
        assert_eq!(continuation.len(), round.greedy.len());
        all += continuation.len();
        same += continuation.iter().filter(|token| token.top[0].0 == token.id).count();
    }
    println!("continuations of {} rounds: {same} of {all} most likely tokens agree", rounds.len());
    assert!(all > 0 && same as f64 >= AGREEMENT * all as f64, "{same} of {all} agree");
}

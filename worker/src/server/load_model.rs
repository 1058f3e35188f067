//! From files to a warm engine; it takes a while and runs off the async threads.

use std::time::Duration;
use std::time::Instant;

use ampd_engine::backend::{BLOCK_TOKENS, KvShape};
use ampd_engine::core::{Engine, EngineOptions, Event, NoHook, RoundRequest, Sampling};
use ampd_kv::{Dtype, Fingerprint};
use ampd_perfmodel::{PerfModel, Profile};

use super::Args;
use super::guess::guess;
use super::phase::{Lifecycle, Phase};
use super::start::ServerError;

/// The KV pool's size by default, bytes.
const KV_MEMORY: u64 = 512 << 20;
/// Largest profile, bytes.
const MAX_PROFILE: u64 = 16 << 20;
/// The form of KV bytes, as [`Fingerprint::layout`] numbers them.
const LAYOUT: u16 = 1;

/// A warm engine with what is known of it.
pub(super) struct Loaded {
    pub engine: Engine,
    pub perf: PerfModel,
    pub fingerprint: Fingerprint,
}

/// Loads the model and makes the engine.
///
/// # Errors
/// When a file cannot be used, the KV pool is too small, or memory or threads cannot be had.
pub(super) fn load(args: &Args, life: &Lifecycle) -> Result<Loaded, ServerError> {
    let profile = args.profile.as_deref().map(read_profile).transpose()?;
    life.set(Phase::Loading { step: "reading the model", progress: 0.05 });
    let mut model = ampd_engine::model::load(&args.model)?;
    let token = KvShape::of(&model.config, 0).token_bytes();
    let blocks = match args.kv_blocks {
        Some(blocks) => blocks as usize,
        None => (args.kv_memory.unwrap_or(KV_MEMORY) / (token * BLOCK_TOKENS) as u64) as usize,
    };
    if blocks == 0 {
        return Err(ServerError::KvMemory { needed: (token * BLOCK_TOKENS) as u64 });
    }
    let asked = args.max_context.map_or(usize::MAX, |tokens| tokens as usize);
    let context = model.config.max_context.min(asked).min(blocks * BLOCK_TOKENS);
    if context < model.config.max_context.min(asked) {
        tracing::warn!(context, "the KV pool caps the context");
    }
    model.config.max_context = context;
    let threads = args
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
    life.set(Phase::Loading { step: "preparing the weights", progress: 0.5 });
    let backend = ampd_engine::build_backend(&model, args.backend, threads, blocks)?;
    let digest = model.digest;
    drop(model);
    let (shape, config) = (backend.kv_shape(), backend.config());
    let perf = match profile {
        Some(profile) => {
            let own: String = blake3::Hash::from_bytes(digest).to_hex().to_string();
            if profile.model_digest != own {
                tracing::warn!(measured = profile.model, "the profile was measured with another model");
            }
            profile.perf
        }
        None => guess(config, shape, threads),
    };
    let options = options(args, &perf);
    let (budget, chunk) = (options.token_budget, options.prefill_chunk);
    let mut engine = Engine::new(backend, options);
    life.set(Phase::Loading { step: "warming up", progress: 0.9 });
    warm_up(&mut engine)?;
    let fingerprint = fingerprint(digest, shape);
    fingerprint.token_layer_bytes().map_err(ServerError::Fingerprint)?;
    tracing::info!(context, blocks, threads, budget, chunk, "the model is loaded");
    Ok(Loaded { engine, perf, fingerprint })
}

/// The engine's limits: the flags', and no step longer than is wanted.
fn options(args: &Args, perf: &PerfModel) -> EngineOptions {
    let (budget, chunk) = (args.token_budget as usize, args.prefill_chunk as usize);
    EngineOptions { session_ttl: args.session_ttl, ..step_limits(perf, args.max_step, budget, chunk) }
}

/// The engine's limits that were asked for, tokens of a step and of one prompt in it, with no step with prompts longer than
/// `longest` by the performance model.
#[must_use]
pub fn step_limits(
    perf: &PerfModel,
    longest: Duration,
    token_budget: usize,
    prefill_chunk: usize,
) -> EngineOptions {
    let defaults = EngineOptions::default();
    let rows = (1..=token_budget.max(prefill_chunk).div_ceil(BLOCK_TOKENS))
        .map(|blocks| blocks * BLOCK_TOKENS)
        .take_while(|rows| perf.prefill_s(0.0, *rows as f64) <= longest.as_secs_f64())
        .last()
        .unwrap_or(BLOCK_TOKENS);
    EngineOptions {
        // All decoding rounds have to fit.
        token_budget: token_budget.min(rows.max(defaults.max_running)),
        prefill_chunk: prefill_chunk.min(rows),
        ..defaults
    }
}

fn fingerprint(model_digest: [u8; 32], shape: KvShape) -> Fingerprint {
    Fingerprint {
        model_digest,
        dtype: Dtype::Bf16,
        layout: LAYOUT,
        block_tokens: BLOCK_TOKENS as u32,
        layers: shape.layers as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        tensor_parallel: 1,
    }
}

/// Runs a short round, so that the first real one does not pay for what is set up on first use. Its prompt is shorter than
/// a block: nothing of it stays.
fn warm_up(engine: &mut Engine) -> Result<(), ServerError> {
    let now = Instant::now();
    let session = "warm-up".to_owned();
    let tokens = vec![0; (engine.config().max_context - 1).min(BLOCK_TOKENS / 2)];
    let request = RoundRequest {
        session: session.clone(),
        epoch: 0,
        salt: [0; 32],
        tokens,
        sampling: Sampling::default(),
        max_tokens: 1,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        prompt_logprobs: None,
    };
    let round = engine.open(request, now)?.id;
    engine.run_local(round, now)?;
    while engine.has_work() {
        for event in engine.step(Instant::now(), &mut NoHook)?.events {
            if let Event::Failed { error, .. } = event {
                return Err(ServerError::WarmUp(error));
            }
        }
    }
    engine.drop_session(&session);
    Ok(())
}

fn read_profile(path: &std::path::Path) -> Result<Profile, ServerError> {
    let failed = |source| ServerError::ReadProfile { path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_PROFILE {
        return Err(failed(std::io::Error::other(format!("larger than {MAX_PROFILE} bytes"))));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Profile::from_json(&text).map_err(|source| ServerError::Profile { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use ampd_engine::{BackendKind, build_backend};
    use ampd_perfmodel::{PrefillSegment, Transfer};
    use ampd_testkit::tiny_model::{Family, TinyModel};
    use candle_core::quantized::GgmlDType;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_step_takes_no_longer_than_is_wanted() {
        let limits = |seconds_per_token: f64, flags: &[&str]| {
            let needed = ["w", "--role=decode", "--name=d", "--service=s", "--model=m", "--tls-dir=t"];
            let args = Cli::parse_from(needed.iter().chain(flags)).args;
            let segment = PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: seconds_per_token, k2: 0.0 };
            let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 };
            let perf = PerfModel { prefill: vec![segment], decode: Vec::new(), transfer };
            let options = options(&args, &perf);
            (options.token_budget, options.prefill_chunk)
        };
        assert_eq!(limits(1e-5, &[]), (512, 256));
        assert_eq!(limits(2e-3, &[]), (96, 96));
        assert_eq!(limits(2e-3, &["--max-step=10s"]), (512, 256));
        // At least a block goes on, and every round that decodes.
        assert_eq!(limits(1.0, &[]), (64, 32));
        assert_eq!(limits(1e-5, &["--token-budget=2048", "--prefill-chunk=2048"]), (2048, 2048));
    }

    #[test]
    fn a_model_that_computes_nonsense_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(Family::Llama).write_gguf(&path, GgmlDType::F32).unwrap();
        let mut model = ampd_engine::model::load(&path).unwrap();
        for sound in [true, false] {
            if !sound {
                model.weights.norm.fill(f32::NAN);
            }
            let backend = build_backend(&model, BackendKind::Cpu, 1, 4).unwrap();
            let warm = warm_up(&mut Engine::new(backend, EngineOptions::default()));
            assert_eq!(warm.is_ok(), sound, "{warm:?}");
            assert!(sound || matches!(warm, Err(ServerError::WarmUp(_))));
        }
    }
}

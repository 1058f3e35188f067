//! What is simulated of a service: workers, policies, objectives.

use std::path::Path;
use std::sync::Arc;

use ampd_api::Service;
use ampd_api::resolved::Role;
use ampd_api::service::{Overload as OnOverload, SignalSource};
use ampd_perfmodel::{PerfModel, Profile};
use ampd_scheduler::{Binding, Order, Overload, PolicyConfig, PolicyKind, RoutingPolicy, Slo};
use ampd_simulator::cluster::{Cluster, Engine, Links, Pacing, Policies, Signals};
use ampd_simulator::truth::{Corrections, Truth};
use ampd_worker::server::{MAX_STEP, step_limits};

use super::Args;
use crate::evaluate::{InputError, card, policy};

/// Deviation of the logarithm of a step's time where a profile does not tell it, as assumed for all engines.
const NOISE: f64 = Corrections::ENGINE.noise;
/// Seconds between readings through a Prometheus server: its default interval of scrapes is longer, and sidecars read it
/// every second.
const PROMETHEUS_S: f64 = 1.0;

/// What is simulated.
pub(super) struct Deployment {
    pub cluster: Cluster,
    pub policies: Policies,
    pub truth: Truth,
    pub model: PerfModel,
    pub slo: Slo,
}

/// The deployment of a service on workers of the model or profile that was named.
pub(super) fn of(args: &Args, service: &Service) -> Result<Deployment, InputError> {
    let (mut cluster, truth, model) = match (&args.model, &args.profile) {
        (_, Some(path)) => from_profile(path, args.cores, service)?,
        (model, None) => from_card(model.as_deref().unwrap_or_default(), service)?,
    };
    let (engine, chunk) =
        if args.profile.is_some() { worker_engine(service, &model) } else { asked_engine(service) };
    cluster.engine = engine;
    bounded(&mut cluster, service);
    let policies = match &args.policy {
        Some(name) => {
            let first = policy(name)?.settings().into_iter().next();
            first.map_or_else(|| policies(service, chunk), |setting| Ok(setting.policies))?
        }
        None => policies(service, chunk)?,
    };
    let slo = Slo { ttft_s: service.slo.ttft.as_secs_f64(), itl_s: service.slo.itl.as_secs_f64() };
    Ok(Deployment { cluster, policies, truth, model, slo })
}

/// Bounds a worker's context and memory as the manifest does.
pub(crate) fn bounded(cluster: &mut Cluster, service: &Service) {
    if let Some(tokens) = service.model.max_context_tokens {
        cluster.max_context = cluster.max_context.min(u64::from(tokens));
    }
    if let Some(bytes) = service.decode.kv_cache {
        cluster.kv_tokens = (bytes as f64 / cluster.kv_bytes_per_token) as u64;
    }
}

/// The limits that the manifest asks for, and the most tokens of a local prefill in a step.
pub(crate) fn asked_engine(service: &Service) -> (Engine, u32) {
    let token_budget = service.decode.token_budget as u32;
    let engine = Engine {
        token_budget,
        prefill_budget: service.prefill.token_budget as u32,
        // The engine's rows are bounded by its budget and by memory.
        max_running: token_budget.saturating_sub(1).min(Engine::default().max_running),
        ..Engine::default()
    };
    (engine, service.decode.prefill_chunk as u32)
}

/// The same as a worker with this profile gives them to its engine, at the default of `--max-step`.
pub(crate) fn worker_engine(service: &Service, model: &PerfModel) -> (Engine, u32) {
    let limits = |role: &Role| step_limits(model, MAX_STEP, role.token_budget, role.prefill_chunk);
    let (decode, prefill) = (limits(&service.decode), limits(&service.prefill));
    let token_budget = decode.token_budget as u32;
    let engine = Engine {
        token_budget,
        max_running: (decode.max_running as u32).min(token_budget.saturating_sub(1)),
        prefill_budget: prefill.token_budget as u32,
        prefill_chunk: prefill.prefill_chunk as u32,
        ..Engine::default()
    };
    (engine, decode.prefill_chunk as u32)
}

/// As sidecars and workers decide: the manifest's rule with what goes with it. Local prefills are served by age.
pub(crate) fn policies(service: &Service, chunk: u32) -> Result<Policies, InputError> {
    let routing = &service.routing;
    let kind: PolicyKind = routing.policy.as_str().parse()?;
    let config = PolicyConfig {
        policy: kind,
        alpha: routing.alpha,
        beta: routing.beta,
        min_remote_tokens: routing.min_remote_tokens,
    };
    let rule: Arc<dyn RoutingPolicy> = Arc::from(config.build()?);
    let ours = kind == PolicyKind::Ampd;
    let direct = Signals { window_s: routing.window.as_secs_f64(), calibration: ours, ..Signals::default() };
    let base = if ours { Policies::ampd() } else { Policies::plain(kind.as_str(), rule) };
    Ok(Policies {
        binding: if kind == PolicyKind::Paper { Binding::FreeMemory } else { Binding::Load },
        order: if ours {
            base.order
        } else {
            Order::Head { lookahead: routing.lookahead, cap: routing.postponement_cap }
        },
        local_order: base.local_order,
        moving: ours,
        pacing: if ours { base.pacing } else { Pacing::Fixed { chunk } },
        overload: match routing.overload {
            OnOverload::Off => Overload::Off,
            OnOverload::Shed => Overload::Shed,
            OnOverload::Queue => Overload::Queue,
            OnOverload::BestEffort => Overload::BestEffort,
        },
        signals: match routing.signals {
            SignalSource::Direct => direct,
            SignalSource::Prometheus => Signals { poll_s: PROMETHEUS_S, probes: 0, ..direct },
        },
        ..base
    })
}

fn from_card(name: &str, service: &Service) -> Result<(Cluster, Truth, PerfModel), InputError> {
    let card = card(name)?;
    degrees(service, card.theta, card.name)?;
    let truth = card.truth()?;
    let model = card.profile(&truth)?;
    Ok((card.cluster(workers(&service.prefill), workers(&service.decode)), truth, model))
}

fn from_profile(
    path: &Path,
    cores: Option<u32>,
    service: &Service,
) -> Result<(Cluster, Truth, PerfModel), InputError> {
    let profile = profile(path)?;
    degrees(service, profile.theta, &profile.model)?;
    let (cluster, truth) = measured(&profile, service)?;
    let workers = (workers(&service.prefill), workers(&service.decode));
    let cluster = Cluster { prefill_workers: workers.0, decode_workers: workers.1, cores, ..cluster };
    Ok((cluster, truth, profile.perf))
}

/// Reads a profile.
pub(crate) fn profile(path: &Path) -> Result<Profile, InputError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| InputError::Read { path: path.to_owned(), source })?;
    Profile::from_json(&text).map_err(|source| InputError::Profile { path: path.to_owned(), source })
}

/// One prefill and one decode worker with a profile, and how long their steps take.
pub(crate) fn measured(profile: &Profile, service: &Service) -> Result<(Cluster, Truth), InputError> {
    let Some(bytes) = service.decode.kv_cache else { return Err(InputError::NoMemory) };
    let truth = Truth::from_model(profile.perf.clone(), Corrections { noise: NOISE, ..Corrections::NONE })?;
    let transfer = profile.perf.transfer;
    let cluster = Cluster {
        prefill_workers: 1,
        decode_workers: 1,
        // What was measured is a transfer between two workers, wherever they are.
        workers_per_node: 1,
        kv_tokens: (bytes as f64 / transfer.bytes_per_token) as u64,
        block_tokens: 32,
        kv_bytes_per_token: transfer.bytes_per_token,
        // A profile does not tell them: the last step's KV is sent when it is computed.
        layers: 1,
        max_context: u64::from(u32::MAX),
        links: Links {
            latency_s: transfer.latency_s,
            between_bytes_per_s: transfer.bytes_per_s,
            inside_bytes_per_s: transfer.bytes_per_s,
        },
        engine: Engine::default(),
        overhead_s: 0.0,
        cores: None,
    };
    Ok((cluster, truth))
}

fn workers(role: &Role) -> u32 {
    u32::try_from(role.min_replicas).unwrap_or(u32::MAX)
}

/// Both roles may have workers of the degree that times are known of.
fn degrees(service: &Service, theta: u32, of: &str) -> Result<(), InputError> {
    for (field, role) in [("spec.prefill", &service.prefill), ("spec.decode", &service.decode)] {
        if role.min_replicas > 0 && !role.tensor_parallel.contains(&theta) {
            let allowed = role.tensor_parallel.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(InputError::Degree { field, allowed, of: of.to_owned(), theta });
        }
    }
    Ok(())
}

//! What has to be there before anything starts: manifest, model, performance models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampd_engine::model as engine_model;
use ampd_perfmodel::Profile;
use anyhow::Context as _;
use clap::ValueEnum as _;
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, default_kv_memory};
use super::{Args, cores};
use crate::manifest::{self, Settings};
use crate::model;
use crate::profile;

/// The children's own time to finish at the end.
const GRACE: Duration = Duration::from_secs(8);

/// What the children are started from.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What is to be run.
    pub(super) plan: Plan,
    /// Performance models by number of threads.
    pub(super) profiles: BTreeMap<usize, PathBuf>,
}

/// Reads, fetches and measures. `stop` ends a measurement early.
pub(super) async fn prepare(args: &Args, stop: &CancellationToken) -> anyhow::Result<Prepared> {
    let mut settings = manifest::load(args.file.as_deref())?;
    if let Some(model) = &args.model {
        settings.model = model.clone();
        settings.model_name = model.served_name();
    }
    if let Some(policy) = args.policy.and_then(|policy| policy.to_possible_value()) {
        policy.get_name().clone_into(&mut settings.routing.policy);
    }
    let path = model::fetch(&settings.model).await?;
    let plan = plan(args, settings, path);
    let profiles = if let Some(path) = &args.profile {
        given_profile(path, &plan)?
    } else {
        let (plan, args, stop) = (plan.clone(), args.clone(), stop.clone());
        tokio::task::spawn_blocking(move || profiles(&plan, &args, &stop)).await??
    };
    Ok(Prepared { plan, profiles })
}

fn plan(args: &Args, settings: Settings, model: PathBuf) -> Plan {
    let decode = args.decode.map_or(settings.decode, usize::from);
    let prefill = args.prefill.map_or(settings.prefill, usize::from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (decode_threads, prefill_threads) = match args.threads {
        Some(threads) => (vec![threads.into(); decode], vec![threads.into(); prefill]),
        None => cores::split(cores, decode, prefill),
    };
    let kv_memory =
        args.kv_mib.map_or_else(|| default_kv_memory(decode + prefill), |mib| u64::from(mib) << 20);
    Plan {
        namespace: settings.namespace,
        service: settings.service,
        model_name: settings.model_name,
        model,
        max_context: settings.max_context,
        slo_ttft: settings.slo_ttft,
        slo_itl: settings.slo_itl,
        routing: settings.routing,
        session_headers: settings.session_headers,
        session_ttl: settings.session_ttl,
        backend: profile::backend_name(args.backend).to_owned(),
        kv_memory,
        grace: GRACE,
        decode_threads,
        prefill_threads,
        log_filter: args.log_filter.clone(),
    }
}

fn thread_counts(plan: &Plan) -> BTreeSet<usize> {
    plan.decode_threads.iter().chain(&plan.prefill_threads).copied().collect()
}

fn given_profile(path: &Path, plan: &Plan) -> anyhow::Result<BTreeMap<usize, PathBuf>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--profile {}", path.display()))?;
    Profile::from_json(&text).with_context(|| format!("--profile {}", path.display()))?;
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(thread_counts(plan).into_iter().map(|threads| (threads, path.clone())).collect())
}

/// Cached performance models, with those measured that are missing.
fn profiles(plan: &Plan, args: &Args, stop: &CancellationToken) -> anyhow::Result<BTreeMap<usize, PathBuf>> {
    // A model that cannot be loaded is told here, before anything starts.
    let loaded = engine_model::load(&plan.model).context("cannot load the model")?;
    let digest = profile::hex(&loaded.digest);
    let mut found = BTreeMap::new();
    for threads in thread_counts(plan) {
        if let Some(path) = profile::cached(&digest, &plan.backend, threads)? {
            found.insert(threads, path);
        } else if !args.no_profile {
            let seconds = profile::SHORT.as_secs();
            eprintln!("measuring this machine with {threads} engine threads, once, for about {seconds} s");
            let request = profile::Request {
                model: plan.model.clone(),
                backend: args.backend,
                threads,
                budget: profile::SHORT,
                full: false,
            };
            match profile::measure_loaded(&loaded, &request, &|| stop.is_cancelled())? {
                Some(measured) => found.insert(threads, profile::keep(&measured)?),
                None => return Ok(found),
            };
        }
    }
    Ok(found)
}

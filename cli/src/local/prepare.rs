//! What has to be there before anything starts: manifest, model, performance models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ampd_api::Service;
use ampd_api::resolved::Role;
use ampd_api::service::Policy;
use ampd_engine::model as engine_model;
use ampd_perfmodel::Profile;
use ampd_worker::sidecar::Policy as PolicyArg;
use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Workers, default_kv_memory};
use super::{Args, MAX_WORKERS, cores};
use crate::{manifest, model, profile};

/// The children's own time to finish at the end, at most: a person waits at the terminal.
const MAX_GRACE: Duration = Duration::from_secs(6);

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
    let mut service = manifest::load(args.file.as_deref())?;
    let wanted = match &args.model {
        Some(model) => {
            service.model.name = model.served_name();
            service.model.aliases = model.aliases();
            model.clone()
        }
        None => manifest::model(&service)?,
    };
    if let Some(policy) = args.policy {
        service.routing.policy = named(policy);
    }
    within_one_machine(args, &service)?;
    let path = model::fetch(&wanted).await?;
    let plan = plan(args, service, path);
    let profiles = if let Some(path) = &args.profile {
        given_profile(path, &plan)?
    } else {
        let (plan, args, stop) = (plan.clone(), args.clone(), stop.clone());
        tokio::task::spawn_blocking(move || profiles(&plan, &args, &stop)).await??
    };
    Ok(Prepared { plan, profiles })
}

/// The manifest's name of a policy.
fn named(policy: PolicyArg) -> Policy {
    match policy {
        PolicyArg::Ampd => Policy::Ampd,
        PolicyArg::Paper => Policy::Paper,
        PolicyArg::AlwaysLocal => Policy::AlwaysLocal,
        PolicyArg::AlwaysRemote => Policy::AlwaysRemote,
        PolicyArg::DynamoConditional => Policy::DynamoConditional,
        PolicyArg::LlmdPrefix => Policy::LlmdPrefix,
        PolicyArg::Ppd => Policy::Ppd,
        PolicyArg::SessionAffinity => Policy::SessionAffinity,
    }
}

/// A manifest may ask for more workers than one machine is given.
#[derive(Debug, thiserror::Error)]
#[error(
    "spec.{role}.replicas.min: is {wanted}, on one machine at most {} of a role are run; ask for fewer with --{role}",
    MAX_WORKERS
)]
struct TooManyWorkers {
    role: &'static str,
    wanted: usize,
}

fn within_one_machine(args: &Args, service: &Service) -> Result<(), TooManyWorkers> {
    for (role, flag, wanted) in [
        ("decode", args.decode, service.decode.min_replicas),
        ("prefill", args.prefill, service.prefill.min_replicas),
    ] {
        if flag.is_none() && wanted > usize::from(MAX_WORKERS) {
            return Err(TooManyWorkers { role, wanted });
        }
    }
    Ok(())
}

fn plan(args: &Args, service: Service, model: PathBuf) -> Plan {
    let decode = args.decode.map_or(service.decode.min_replicas, usize::from);
    let prefill = args.prefill.map_or(service.prefill.min_replicas, usize::from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (decode_share, prefill_share) = cores::split(cores, decode, prefill);
    let workers = |role: &Role, share: Vec<usize>| {
        let fixed = args.threads.map(usize::from).or(role.threads);
        let kv_memory = args.kv_mib.map(|mib| u64::from(mib) << 20).or(role.kv_cache);
        Workers {
            threads: share.into_iter().map(|threads| fixed.unwrap_or(threads)).collect(),
            kv_memory: kv_memory.unwrap_or_else(|| default_kv_memory(decode + prefill)),
        }
    };
    Plan {
        model,
        backend: args.backend.to_string(),
        decode: workers(&service.decode, decode_share),
        prefill: workers(&service.prefill, prefill_share),
        grace: service.drain_timeout.min(MAX_GRACE),
        log_filter: args.log_filter.clone(),
        service,
    }
}

fn thread_counts(plan: &Plan) -> BTreeSet<usize> {
    plan.decode.threads.iter().chain(&plan.prefill.threads).copied().collect()
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn manifests_and_flags_know_the_same_policies() {
        assert_eq!(PolicyArg::ALL.map(named), Policy::ALL);
        assert_eq!(PolicyArg::ALL.map(PolicyArg::as_str), Policy::ALL.map(Policy::as_str));
    }

    #[test]
    fn more_workers_than_one_machine_is_given_are_refused_by_field() {
        let mut service = manifest::load(None).unwrap();
        let check = |service: &Service, flags: &[&str]| {
            let line = std::iter::once(&"local").chain(flags);
            within_one_machine(&Command::parse_from(line).args, service).map_err(|error| error.to_string())
        };
        service.prefill.min_replicas = 64;
        assert_eq!(check(&service, &[]), Ok(()));
        service.prefill.min_replicas = 65;
        let error = check(&service, &[]).unwrap_err();
        assert!(error.starts_with("spec.prefill.replicas.min: is 65, "), "{error}");
        assert_eq!(check(&service, &["--prefill", "2"]), Ok(()));
    }
}

//! The worker types that a plan may be made of.

use ampd_api::Service;
use ampd_planner::WorkerProfile;

use super::Args;
use crate::evaluate::{InputError, cards};
use crate::simulate::deployment::{asked_engine, bounded, measured, profile, worker_engine};

/// The worker types with the engine that the manifest asks for, and the most tokens of a local prefill in a step.
pub(super) fn of(args: &Args, service: &Service) -> Result<(Vec<WorkerProfile>, u32), InputError> {
    let mut workers = Vec::new();
    let mut chunk = u32::MAX;
    for path in &args.profile {
        let profile = profile(path)?;
        let (mut cluster, truth) = measured(&profile, service)?;
        let (engine, most) = worker_engine(service, &profile.perf);
        cluster.engine = engine;
        chunk = chunk.min(most);
        bounded(&mut cluster, service);
        workers.push(WorkerProfile {
            name: path.display().to_string(),
            model: profile.model_digest,
            accelerator: profile.hardware,
            theta: profile.theta,
            perf: profile.perf,
            truth,
            cluster,
        });
    }
    if let Some(name) = &args.model {
        let (engine, most) = asked_engine(service);
        chunk = most;
        for card in cards(name)? {
            let mut worker = WorkerProfile::of_card(&card)?;
            worker.cluster.engine = engine;
            bounded(&mut worker.cluster, service);
            workers.push(worker);
        }
    }
    Ok((workers, chunk))
}

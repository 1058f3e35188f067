//! What is to be planned, from the manifest and the command line.

use ampd_api::service::{Replicas, Role};
use ampd_api::{AMPDService, Service};
use ampd_planner::{Bounds, Effort, MOST_GPUS, RoleBounds, Task};
use ampd_scheduler::Slo;

use super::{Args, workers, workload};
use crate::evaluate::InputError;
use crate::simulate::deployment::policies;

/// The task.
pub(super) fn of(args: &Args, resource: &AMPDService, service: &Service) -> Result<Task, InputError> {
    let spec = &resource.spec;
    let (workers, chunk) = workers::of(args, service)?;
    let budget = spec.accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref());
    let given = budget.and_then(|budget| u32::try_from(budget.max).ok());
    let most_gpus = args.gpus.or(given).ok_or(InputError::NoBudget)?;
    let least_gpus = budget.and_then(|budget| u32::try_from(budget.min).ok()).unwrap_or(0);
    let bounds = Bounds {
        // Another budget on the command line has no lower bound: the manifest's is not one of it.
        least_gpus: if args.gpus.is_some() { 0 } else { least_gpus },
        most_gpus,
        prefill: role(&spec.prefill, &service.prefill.tensor_parallel, 0),
        decode: role(&spec.decode, &service.decode.tensor_parallel, 1),
    };
    Ok(Task {
        workload: workload::of(args, &spec.workload)?,
        workers,
        slo: Slo { ttft_s: service.slo.ttft.as_secs_f64(), itl_s: service.slo.itl.as_secs_f64() },
        target: service.slo.target,
        goal: args.objective.into(),
        bounds,
        policies: policies(service, chunk)?,
        effort: Effort { rounds: args.rounds, ..Effort::default() },
        seed: args.seed,
    })
}

/// Bounds of a role whose `replicas.max` is given. Without it, `replicas.min` is how many there are now, and the question
/// is how many there should be.
fn role(role: &Role, degrees: &[u32], least: u32) -> RoleBounds {
    let Replicas { min, max } = role.replicas;
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let (least, most) = max.map_or((least, MOST_GPUS), |max| (count(min).max(least), count(max)));
    RoleBounds { least, most, degrees: degrees.to_vec() }
}

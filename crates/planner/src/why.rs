//! Why a plan is what it is, in sentences.

use ampd_scheduler::Slo;

use crate::{Alternative, Goal, Limit, MOST_GPUS, Needed, Objective, Plan, Prediction, Verdict};

/// The sentences of a plan.
pub(crate) fn sentences(plan: &Plan, slo: &Slo) -> Vec<String> {
    let mut said = vec![chosen(plan)];
    said.extend(fewer(plan));
    said.extend(serving(plan));
    said.extend(program(plan));
    if let Verdict::Infeasible { needed: of } = &plan.verdict {
        said.push(bound(plan));
        said.push(needed(of, slo));
    }
    said
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn attained(predicted: &Prediction) -> String {
    percent(predicted.attainment.mean)
}

fn objective(of: Objective) -> &'static str {
    match of {
        Objective::Ttft => "TTFT",
        Objective::Itl => "ITL",
    }
}

fn chosen(plan: &Plan) -> String {
    let Plan { deployment, gpus, predicted, target, .. } = plan;
    let best = match (&plan.verdict, plan.goal) {
        (Verdict::Infeasible { .. }, _) => "are the best within the bounds and miss the target",
        (Verdict::Meets, Goal::MinimumGpus) => {
            "are the fewest accelerators found with which the target is met"
        }
        (Verdict::Meets, Goal::BestAttainment) => "attain the most within the bounds",
        (Verdict::Meets, Goal::Balanced) => "have the least Z within the bounds",
    };
    format!(
        "{deployment}, {gpus} accelerators, {best}: {} of the rounds for a target of {}.",
        attained(predicted),
        percent(*target)
    )
}

/// What fewer accelerators would give.
fn fewer(plan: &Plan) -> Option<String> {
    let smaller = plan.alternatives.iter().filter(|other| other.gpus < plan.gpus);
    let best = smaller.max_by(|a, b| {
        let of = |other: &Alternative| other.predicted.attainment.mean;
        of(a).total_cmp(&of(b)).then(b.gpus.cmp(&a.gpus))
    })?;
    Some(format!(
        "On fewer accelerators the best that was simulated is {} ({}) with {}; what is missed there first is {}.",
        best.deployment,
        best.gpus,
        attained(&best.predicted),
        objective(plan.binding.objective)
    ))
}

/// Whether disaggregation pays.
fn serving(plan: &Plan) -> Option<String> {
    let aggregated = plan.deployment.is_aggregated();
    let mut others = plan.alternatives.iter().filter(|other| other.deployment.is_aggregated() != aggregated);
    let Some(other) = others.next() else {
        return aggregated.then(|| "Every prefill is local: aggregated serving.".into());
    };
    let theirs =
        format!("{} ({} accelerators) attains {}", other.deployment, other.gpus, attained(&other.predicted));
    Some(if aggregated {
        format!("Disaggregation does not pay here, so that every prefill is local: {theirs}.")
    } else {
        format!(
            "{} of the prefills run on decode workers; aggregated serving, {theirs}.",
            percent(plan.predicted.local_share)
        )
    })
}

/// What the paper's program says beside it.
fn program(plan: &Plan) -> Option<String> {
    let answer = plan.program.as_ref()?;
    let pools = |pools: &[crate::Pool]| {
        let texts = pools.iter().map(|pool| format!("{} of {}", pool.replicas, pool.degree));
        texts.collect::<Vec<_>>().join(" and ")
    };
    Some(format!(
        "The paper's program, which has every prefill remote, answers {} prefill and {} decode workers, {} \
         accelerators, with Z {:.2}.",
        pools(&answer.prefill),
        pools(&answer.decode),
        answer.gpus(),
        answer.z
    ))
}

fn bound(plan: &Plan) -> String {
    let of = objective(plan.binding.objective);
    let more = match plan.binding.limit {
        Some(Limit::Budget) => "; the budget of accelerators is used up",
        Some(Limit::PrefillReplicas) => "; the bound on prefill workers keeps it from growing",
        Some(Limit::DecodeReplicas) => "; the bound on decode workers keeps it from growing",
        None => "",
    };
    format!("What binds is the {of} objective{more}.")
}

fn needed(needed: &Needed, slo: &Slo) -> String {
    match needed {
        Needed::Deployment { deployment, gpus, predicted } => format!(
            "Needed are {gpus} accelerators: {deployment} attain {} with these objectives.",
            attained(predicted)
        ),
        Needed::TooMany { gpus } => format!(
            "Needed are more accelerators than the {MOST_GPUS} that a service may have: {gpus:.0} by arithmetic alone."
        ),
        Needed::OtherObjectives { attainment, gpus } => format!(
            "No number of these workers meets TTFT {:.3} s and ITL {:.4} s: on {gpus} accelerators, where hardly any round \
             waits, {} do.",
            slo.ttft_s,
            slo.itl_s,
            percent(*attainment)
        ),
        Needed::Unknown => "What would be needed was not found with the rounds that may be simulated.".into(),
    }
}

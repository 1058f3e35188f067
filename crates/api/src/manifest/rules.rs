//! Rules between fields: those that the schema states in the Common Expression Language, for manifests on this machine.

use crate::schema::{self, Bounds};
use crate::service::{
    AMPDServiceSpec, Accelerator, Drain, Model, ModelSource, Policy, Role, Routing, Sessions, SignalSource,
    Slo,
};
use crate::values;

/// The parts of a service that rules speak of.
#[derive(Debug, Default)]
pub struct Sections {
    /// Absent where the manifest has none that can be read.
    pub source: Option<ModelSource>,
    pub slo: Slo,
    pub accelerator: Option<Accelerator>,
    pub prefill: Role,
    pub decode: Role,
    pub routing: Routing,
    pub sessions: Sessions,
    pub drain: Drain,
}

impl From<&AMPDServiceSpec> for Sections {
    fn from(spec: &AMPDServiceSpec) -> Self {
        let AMPDServiceSpec { model, slo, accelerator, prefill, decode, routing, sessions, drain } =
            spec.clone();
        let Model { source, .. } = model;
        Self { source: Some(source), slo, accelerator, prefill, decode, routing, sessions, drain }
    }
}

/// A field and what is wrong with it.
pub type Violation = (String, String);

/// Every rule that the service breaks.
pub fn violations(sections: &Sections) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut wrong = |field: &str, what: String| found.push((format!("spec.{field}"), what));
    let Sections { source, slo, accelerator, prefill, decode, routing, sessions, drain } = sections;

    if let Some(ModelSource { hugging_face, persistent_volume_claim, path }) = source {
        let places = [hugging_face.is_some(), persistent_volume_claim.is_some(), path.is_some()];
        if places.iter().filter(|place| **place).count() != 1 {
            wrong(
                "model.source",
                "must have exactly one of huggingFace, persistentVolumeClaim and path".to_owned(),
            );
        }
    }
    for (field, text, bounds) in [
        ("slo.ttft", &slo.ttft, schema::TTFT),
        ("slo.itl", &slo.itl, schema::ITL),
        ("routing.window", &routing.window, schema::WINDOW),
        ("sessions.ttl", &sessions.ttl, schema::TTL),
        ("drain.timeout", &drain.timeout, schema::TIMEOUT),
    ] {
        if !within(text, bounds) {
            wrong(field, format!("is {text:?}, {}", bounds.message()));
        }
    }
    for (name, role) in [("prefill", prefill), ("decode", decode)] {
        role_violations(name, role, accelerator.is_some(), &mut wrong);
    }
    if decode.replicas.min < 1 {
        wrong("decode.replicas.min", "must be at least 1: every session needs a decode worker".to_owned());
    }
    if routing.policy == Policy::AlwaysRemote && prefill.replicas.min < 1 {
        wrong("prefill.replicas.min", "must be at least 1 where routing.policy is always_remote".to_owned());
    }
    if routing.signals.source == SignalSource::Prometheus && routing.signals.url.is_none() {
        wrong("routing.signals.url", "is required where source is prometheus".to_owned());
    }
    if let Some(budget) = accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref())
        && budget.max < budget.min
    {
        wrong("accelerator.budget.max", format!("is {}, must not be below min, {}", budget.max, budget.min));
    }
    found
}

fn role_violations(name: &str, role: &Role, accelerated: bool, wrong: &mut impl FnMut(&str, String)) {
    let Role { replicas, engine, .. } = role;
    if let Some(max) = replicas.max
        && max < replicas.min
    {
        wrong(&format!("{name}.replicas.max"), format!("is {max}, must not be below min, {}", replicas.min));
    }
    if engine.prefill_chunk > engine.token_budget {
        let (chunk, budget) = (engine.prefill_chunk, engine.token_budget);
        wrong(
            &format!("{name}.engine.prefillChunk"),
            format!("is {chunk}, must not be above tokenBudget, {budget}"),
        );
    }
    if let Some(text) = &engine.kv_cache
        && values::memory(text).is_none_or(|bytes| !schema::MEMORY_BYTES.contains(&bytes))
    {
        wrong(&format!("{name}.engine.kvCache"), format!("is {text:?}, must be from 1Mi to 64Ti"));
    }
    if !accelerated && !role.tensor_parallel.contains(&1) {
        wrong(&format!("{name}.tensorParallel"), "must contain 1 without an accelerator".to_owned());
    }
}

fn within(text: &str, bounds: Bounds) -> bool {
    let value = values::duration(text);
    value.is_some() && value >= values::duration(bounds.min) && value <= values::duration(bounds.max)
}

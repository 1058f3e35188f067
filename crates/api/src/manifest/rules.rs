//! Rules between fields: those that the schema states in the Common Expression Language, for manifests on this machine.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use regex::Regex;

use crate::schema::{self, Bounds};
use crate::service::{
    AMPDServiceSpec, Accelerator, ApiAuth, Drain, Model, ModelCache, ModelSource, Planner, Policy, Role,
    Routing, Security, Sessions, SignalSource, Slo, Workload,
};
use crate::values;

/// The parts of a service that rules speak of.
#[derive(Debug, Default)]
pub struct Sections {
    /// Absent where the manifest has none that can be read.
    pub source: Option<ModelSource>,
    pub cache: ModelCache,
    pub slo: Slo,
    pub accelerator: Option<Accelerator>,
    pub prefill: Role,
    pub decode: Role,
    pub routing: Routing,
    pub sessions: Sessions,
    pub drain: Drain,
    pub workload: Workload,
    pub planner: Planner,
    pub security: Security,
}

impl From<&AMPDServiceSpec> for Sections {
    fn from(spec: &AMPDServiceSpec) -> Self {
        let AMPDServiceSpec {
            model,
            slo,
            accelerator,
            prefill,
            decode,
            routing,
            sessions,
            drain,
            workload,
            planner,
            security,
            ..
        } = spec.clone();
        let Model { source, cache, .. } = model;
        Self {
            source: Some(source),
            cache,
            slo,
            accelerator,
            prefill,
            decode,
            routing,
            sessions,
            drain,
            workload,
            planner,
            security,
        }
    }
}

/// A rule that is broken.
#[derive(Debug)]
pub struct Violation {
    /// The field at fault: `spec.slo.ttft`.
    pub field: String,
    /// Every field that the rule reads, the one at fault among them.
    pub reads: Vec<String>,
    /// What is wrong.
    pub what: String,
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    /// Records a broken rule; it reads `others` besides the field at fault. Fields are named without `spec.`.
    fn wrong(&mut self, field: &str, others: &[&str], what: impl Into<String>) {
        let full = |field: &str| format!("spec.{field}");
        let reads = std::iter::once(field).chain(others.iter().copied()).map(full).collect();
        self.0.push(Violation { field: full(field), reads, what: what.into() });
    }
}

/// Every rule that the service breaks.
pub fn violations(sections: &Sections) -> Vec<Violation> {
    let mut found = Found::default();
    let Sections {
        source,
        cache,
        slo,
        accelerator,
        prefill,
        decode,
        routing,
        sessions,
        drain,
        workload,
        planner,
        security,
    } = sections;

    if let Some(ModelSource { hugging_face, persistent_volume_claim, path }) = source {
        let places = [hugging_face.is_some(), persistent_volume_claim.is_some(), path.is_some()];
        if places.iter().filter(|place| **place).count() != 1 {
            let what = "must have exactly one of huggingFace, persistentVolumeClaim and path";
            found.wrong("model.source", &[], what);
        }
    }
    if let Some(ModelSource { persistent_volume_claim: Some(claim), .. }) = source
        && claim.path.split('/').any(|part| part == "..")
    {
        found.wrong("model.source.persistentVolumeClaim.path", &[], "must stay within the volume");
    }
    for (field, text, bounds) in [
        ("slo.ttft", &slo.ttft, schema::TTFT),
        ("slo.itl", &slo.itl, schema::ITL),
        ("routing.window", &routing.window, schema::WINDOW),
        ("sessions.ttl", &sessions.ttl, schema::TTL),
        ("drain.timeout", &drain.timeout, schema::TIMEOUT),
        ("planner.interval", &planner.interval, schema::INTERVAL),
        ("planner.stabilisation", &planner.stabilisation, schema::STABILISATION),
    ] {
        if !within(text, bounds) {
            found.wrong(field, &[], format!("is {text:?}, {}", bounds.message()));
        }
    }
    if let Some(text) = &cache.size_limit
        && !is_memory(text)
    {
        found.wrong("model.cache.sizeLimit", &[], format!("is {text:?}, must be from 1Mi to 64Ti"));
    }
    if let Some(gap) = &workload.gap
        && !within(gap, schema::GAP)
    {
        found.wrong("workload.gap", &[], format!("is {gap:?}, {}", schema::GAP.message()));
    }
    if sessions.headers.iter().any(|header| schema::TAKEN_HEADERS.contains(&header.as_str())) {
        found.wrong("sessions.headers", &[], schema::HEADER_TAKEN);
    }
    if security.api.auth == ApiAuth::Anonymous && security.api.secret_name.is_some() {
        let what = "must be absent where auth is Anonymous";
        found.wrong("security.api.secretName", &["security.api.auth"], what);
    }
    let none = BTreeMap::new();
    let network = &security.network;
    for (field, keys) in [
        ("security.network.clientNamespaces", &network.client_namespaces),
        ("security.network.metricsNamespaces", &network.metrics_namespaces),
        (
            "accelerator.nodeSelector",
            accelerator.as_ref().map_or(&none, |accelerator| &accelerator.node_selector),
        ),
        ("prefill.pod.annotations", &prefill.pod.annotations),
        ("prefill.pod.nodeSelector", &prefill.pod.node_selector),
        ("decode.pod.annotations", &decode.pod.annotations),
        ("decode.pod.nodeSelector", &decode.pod.node_selector),
    ] {
        if !keys.keys().all(|key| fits(schema::KEY, key)) {
            found.wrong(field, &[], schema::KEYS);
        }
    }
    for (name, role) in [("prefill", prefill), ("decode", decode)] {
        role_violations(name, role, accelerator.is_some(), &mut found);
    }
    if decode.replicas.min < 1 {
        let what = "must be at least 1: every session needs a decode worker";
        found.wrong("decode.replicas.min", &[], what);
    }
    if routing.policy == Policy::AlwaysRemote && prefill.replicas.min < 1 {
        let what = "must be at least 1 where routing.policy is always_remote";
        found.wrong("prefill.replicas.min", &["routing.policy"], what);
    }
    if routing.signals.source == SignalSource::Prometheus && routing.signals.url.is_none() {
        let what = "is required where source is prometheus";
        found.wrong("routing.signals.url", &["routing.signals.source"], what);
    }
    if let Some(budget) = accelerator.as_ref().and_then(|accelerator| accelerator.budget.as_ref())
        && budget.max < budget.min
    {
        let what = format!("is {}, must not be below min, {}", budget.max, budget.min);
        found.wrong("accelerator.budget.max", &["accelerator.budget.min"], what);
    }
    found.0
}

fn role_violations(name: &str, role: &Role, accelerated: bool, found: &mut Found) {
    let Role { replicas, engine, .. } = role;
    let field = |field: &str| format!("{name}.{field}");
    if let Some(max) = replicas.max
        && max < replicas.min
    {
        let what = format!("is {max}, must not be below min, {}", replicas.min);
        found.wrong(&field("replicas.max"), &[&field("replicas.min")], what);
    }
    if engine.prefill_chunk > engine.token_budget {
        let (chunk, budget) = (engine.prefill_chunk, engine.token_budget);
        let what = format!("is {chunk}, must not be above tokenBudget, {budget}");
        found.wrong(&field("engine.prefillChunk"), &[&field("engine.tokenBudget")], what);
    }
    found.0.extend(super::pod_rules::violations(name, &role.pod));
    for (kind, names) in [("requests", &role.resources.requests), ("limits", &role.resources.limits)] {
        if !names.keys().all(|name| fits(schema::RESOURCE, name) && !name.ends_with("/gpu")) {
            found.wrong(&field(&format!("resources.{kind}")), &[], schema::RESOURCE_NAMES);
        }
    }
    let above = |name: &String, request: &IntOrString| {
        role.resources.limits.get(name).is_some_and(|limit| amount(request) > amount(limit))
    };
    if role.resources.requests.iter().any(|(name, request)| above(name, request)) {
        found.wrong(
            &field("resources.requests"),
            &[&field("resources.limits")],
            "must not be above the limits",
        );
    }
    if let (Some(cache), Some(limit)) = (&engine.kv_cache, role.resources.limits.get("memory"))
        && values::quantity(cache) >= amount(limit)
    {
        let what = "must be below resources.limits.memory: the model needs memory too";
        found.wrong(&field("engine.kvCache"), &[&field("resources.limits")], what);
    }
    if let Some(text) = &engine.kv_cache
        && !is_memory(text)
    {
        found.wrong(&field("engine.kvCache"), &[], format!("is {text:?}, must be from 1Mi to 64Ti"));
    }
    if !accelerated && !role.tensor_parallel.contains(&1) {
        let what = "must contain 1 without an accelerator";
        found.wrong(&field("tensorParallel"), &["accelerator"], what);
    }
}

/// Whether a text is of the form of a pattern of the schema.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// A quantity as a number; `None` where it cannot be read.
fn amount(quantity: &IntOrString) -> Option<f64> {
    match quantity {
        IntOrString::Int(number) => Some(f64::from(*number)),
        IntOrString::String(text) => values::quantity(text),
    }
}

/// Whether a text is an amount of memory within the bounds.
pub(super) fn is_memory(text: &str) -> bool {
    values::memory(text).is_some_and(|bytes| schema::MEMORY_BYTES.contains(&bytes))
}

fn within(text: &str, bounds: Bounds) -> bool {
    let value = values::duration(text);
    value.is_some() && value >= values::duration(bounds.min) && value <= values::duration(bounds.max)
}

//! From a resource to what it means.

use std::time::Duration;

use super::{Model, ModelSource, Role, Routing, Service, Slo};
use crate::manifest::rules::{self, Sections};
use crate::service::{self, AMPDService};
use crate::{FieldError, FieldErrors, values};

impl Service {
    /// Reads a manifest, as [`crate::parse`], and fills in its defaults.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, FieldErrors> {
        Self::resolve(&crate::parse(text)?)
    }

    /// Reads a resource's texts.
    ///
    /// # Errors
    /// Every rule that it breaks. A resource from [`crate::parse`], or one that an API server has checked, breaks none.
    pub fn resolve(resource: &AMPDService) -> Result<Self, FieldErrors> {
        let spec = &resource.spec;
        let broken = rules::violations(&Sections::from(spec));
        if !broken.is_empty() {
            let errors = broken.into_iter().map(|broken| FieldError {
                field: broken.field,
                line: None,
                what: broken.what,
            });
            return Err(FieldErrors(errors.collect()));
        }
        Ok(Self {
            name: resource.metadata.name.clone().unwrap_or_default(),
            namespace: resource.metadata.namespace.clone().unwrap_or_else(|| "default".into()),
            model: model(&spec.model)?,
            slo: Slo {
                ttft: duration("spec.slo.ttft", &spec.slo.ttft)?,
                itl: duration("spec.slo.itl", &spec.slo.itl)?,
                target: f64::from(spec.slo.target_percent) / 100.0,
            },
            prefill: role("spec.prefill", &spec.prefill)?,
            decode: role("spec.decode", &spec.decode)?,
            routing: routing(&spec.routing)?,
            session_headers: spec.sessions.headers.clone(),
            session_ttl: duration("spec.sessions.ttl", &spec.sessions.ttl)?,
            drain_timeout: duration("spec.drain.timeout", &spec.drain.timeout)?,
        })
    }
}

fn wrong(field: &str, what: impl Into<String>) -> FieldErrors {
    FieldErrors(vec![FieldError { field: field.into(), line: None, what: what.into() }])
}

fn duration(field: &str, text: &str) -> Result<Duration, FieldErrors> {
    values::duration(text).ok_or_else(|| wrong(field, format!("is {text:?}, must be a duration as \"2s\"")))
}

fn share(field: &str, text: &str) -> Result<f64, FieldErrors> {
    values::decimal(text)
        .filter(|share| *share <= 10.0)
        .ok_or_else(|| wrong(field, format!("is {text:?}, must be a decimal from 0 to 10")))
}

/// A count that the schema keeps from being negative.
fn count<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, FieldErrors> {
    T::try_from(number).map_err(|_| wrong(field, format!("is {number}, must not be negative")))
}

fn model(model: &service::Model) -> Result<Model, FieldErrors> {
    let service::ModelSource { hugging_face, persistent_volume_claim, path } = model.source.clone();
    let source = if let Some(service::HuggingFace { repo, revision, file, .. }) = hugging_face {
        ModelSource::HuggingFace { repo, revision, file }
    } else if let Some(service::PersistentVolumeClaim { claim_name, path }) = persistent_volume_claim {
        ModelSource::PersistentVolumeClaim { claim_name, path }
    } else {
        ModelSource::Path(path.ok_or_else(|| wrong("spec.model.source", "is empty"))?)
    };
    let max_context = |tokens| count("spec.model.maxContextTokens", tokens);
    Ok(Model {
        name: model.name.clone(),
        aliases: model.aliases.clone(),
        source,
        max_context_tokens: model.max_context_tokens.map(max_context).transpose()?,
    })
}

fn role(field: &str, role: &service::Role) -> Result<Role, FieldErrors> {
    let number = |name: &str, value| count(&format!("{field}.{name}"), value);
    let service::Engine { token_budget, prefill_chunk, threads, kv_cache } = &role.engine;
    let degree = |degree: &i32| count(&format!("{field}.tensorParallel"), *degree);
    let mut tensor_parallel = role.tensor_parallel.iter().map(degree).collect::<Result<Vec<u32>, _>>()?;
    tensor_parallel.sort_unstable();
    Ok(Role {
        min_replicas: number("replicas.min", role.replicas.min)?,
        max_replicas: number("replicas.max", role.replicas.max.unwrap_or(role.replicas.min))?,
        tensor_parallel,
        token_budget: number("engine.tokenBudget", *token_budget)?,
        prefill_chunk: number("engine.prefillChunk", *prefill_chunk)?,
        threads: threads.map(|threads| number("engine.threads", threads)).transpose()?,
        // The rules have read it.
        kv_cache: kv_cache.as_deref().and_then(values::memory),
    })
}

fn routing(routing: &service::Routing) -> Result<Routing, FieldErrors> {
    Ok(Routing {
        policy: routing.policy,
        alpha: share("spec.routing.alpha", &routing.alpha)?,
        beta: share("spec.routing.beta", &routing.beta)?,
        window: duration("spec.routing.window", &routing.window)?,
        lookahead: count("spec.routing.lookahead", routing.lookahead)?,
        postponement_cap: count("spec.routing.postponementCap", routing.postponement_cap)?,
        min_remote_tokens: count("spec.routing.minRemoteTokens", routing.min_remote_tokens)?,
        overload: routing.overload,
        on_remote_failure: routing.on_remote_failure,
        signals: routing.signals.source,
        prometheus_url: routing.signals.url.clone(),
    })
}

//! The steps one after the other.

use std::time::{Duration, Instant, SystemTime};

use ampd_api::{AMPDService, AMPDServiceStatus};
use ampd_render::Role;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;

use super::apply::Writer;
use super::build::{Plan, build};
use super::dereference::{Observed, dereference};
use super::drain::since;
use super::news::tell_changes;
use super::observed::{is_over, is_ready};
use super::secrets::{self, Issued};
use super::sidecars::{Sidecars, SidecarsError, Told};
use super::slo::Measured;
use super::update_status::{self, Seen};
use super::validate::{Validated, validate};
use crate::condition::Reason;
use crate::context::Context;
use crate::error::ReconcileError;

/// How soon a service is looked at again when nothing happens.
const AT_REST: Duration = Duration::from_mins(5);
/// How soon while it serves: nothing else tells how its rounds do.
const MEASURED: Duration = Duration::from_mins(1);
/// How soon while pods drain.
const DRAINING: Duration = Duration::from_secs(1);
/// How soon while something that it refers to is missing: nothing tells when it is there.
const MISSING: Duration = Duration::from_secs(10);

/// Brings the cluster to what `resource` says, and says how soon it is to be looked at again.
///
/// # Errors
/// Whatever kept it from that; the status says so too, if it could be written.
pub async fn reconcile(resource: &AMPDService, context: &Context) -> Result<Duration, ReconcileError> {
    match Box::pin(steps(resource, context)).await {
        Ok(again) => Ok(again),
        Err(Failure { error, status }) => {
            let seen = status.or_else(|| resource.status.clone().map(Box::new)).unwrap_or_default();
            let status = update_status::failed(resource, *seen, &error, jiff::Timestamp::now());
            if let Err(unwritten) = update_status::write(&context.client, resource, &status).await {
                tracing::warn!(
                    error = &unwritten as &dyn std::error::Error,
                    "the status cannot say what went wrong"
                );
            }
            Err(error)
        }
    }
}

/// What kept a reconcile from its end.
struct Failure {
    error: ReconcileError,
    /// What was seen all the same.
    status: Option<Box<AMPDServiceStatus>>,
}

impl<E: Into<ReconcileError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), status: None }
    }
}

async fn steps(resource: &AMPDService, context: &Context) -> Result<Duration, Failure> {
    let client = &context.client;
    // Garbage collection takes the children; whatever is written now would be in its way.
    if resource.metadata.deletion_timestamp.is_some() {
        return Ok(AT_REST);
    }
    let observed = Box::pin(dereference(client, resource, context.capabilities())).await?;
    let validated = validate(resource, &observed)?;

    let issued = secrets::issue(resource, &observed.secrets, context.certificates, SystemTime::now())?;
    let count = |kind, verb| context.wrote(kind, verb);
    let writer = Writer::new(client, resource, &count);
    writer.secrets(&issued.write).await?;
    if !issued.renewed.is_empty() {
        let note =
            format!("renewed {}; running processes take them in by themselves", issued.renewed.join(", "));
        context.tell(resource, EventType::Normal, const { Reason::new("CertificatesRenewed") }, note);
    }

    let serving = observed.pods_of(Role::Decode).filter(|pod| is_ready(pod)).count();
    let (uid, asked_at) = (resource.uid().unwrap_or_default(), Instant::now());
    let fresh = context.measurements.fresh(&uid, &validated.service.slo, asked_at);
    // Those on their way out are asked as long as they can be, for what their last rounds were like.
    let ending =
        observed.pods_of(Role::Decode).any(|pod| pod.metadata.deletion_timestamp.is_some() && !is_over(pod));
    let asks = drains(&validated, &observed) || ending || (serving > 0 && fresh.is_none());
    let sidecars = if asks { sidecars(resource, context, &issued) } else { None };
    let told = match &sidecars {
        Some(sidecars) => sidecars.ask(observed.pods_of(Role::Decode), &validated.service.slo).await,
        None => Told::default(),
    };
    context.measurements.heard(&uid, &validated.service.slo, &told.rounds, asked_at);
    let measured = match fresh {
        _ if serving == 0 => Measured::default(),
        Some(measured) => measured,
        None => context.measurements.sum(&uid, (serving, told.answered), asked_at),
    };
    let now = jiff::Timestamp::now();
    let plan = build(resource, &validated, &observed, &context.settings, &told.held, now);
    let mut written = writer.plan(&plan, &observed).await;
    // Pods of the templates until now may still need them.
    if plan.apply.is_empty() && written.is_ok() {
        written = writer.remove_secrets(&observed.unwanted_secrets).await.and(written);
    }
    tell_sidecars(sidecars.as_ref(), &plan, &observed).await;

    let seen = Seen { validated: &validated, observed: &observed, plan: &plan, measured: &measured };
    let status = update_status::status(resource, &seen, &context.settings, now);
    if let Err(error) = written {
        return Err(Failure { error, status: Some(Box::new(status)) });
    }
    if update_status::write(client, resource, &status).await? {
        context.wrote("AMPDService", "apply");
    }
    if let Some(scale) = &observed.prefill_scale
        && update_status::write_scale(client, scale, &status.prefill).await?
    {
        context.wrote("AMPDPrefillScale", "apply");
    }
    tell_changes(resource, &status, &seen, context);
    Ok(if !plan.drain.draining.is_empty() {
        DRAINING
    } else if !observed.missing.is_empty() {
        MISSING
    } else if serving > 0 {
        MEASURED
    } else {
        AT_REST
    })
}

/// Whether decode pods are to go, or are on their way out: then there is something to say to sidecars.
fn drains(validated: &Validated, observed: &Observed) -> bool {
    let wanted = &validated.facts.replicas;
    let present = observed.replicas(&validated.newest, wanted);
    let fewer = |(key, count): (&(Role, u32), &i32)| key.0 == Role::Decode && present.get(key) > Some(count);
    wanted.iter().any(fewer) || observed.pods_of(Role::Decode).any(|pod| since(pod).is_some())
}

fn sidecars(resource: &AMPDService, context: &Context, issued: &Issued) -> Option<Sidecars> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let made = issued.own(&namespace, &name).map_err(SidecarsError::from);
    match made.and_then(|own| Sidecars::new(&namespace, &name, &own)) {
        Ok(sidecars) => Some(sidecars),
        Err(error) => {
            let note = crate::error::chain(&error);
            context.tell(resource, EventType::Warning, const { Reason::new("SidecarsUnreachable") }, note);
            None
        }
    }
}

/// A sidecar that was started again has forgotten: those that drain are told at each reconcile.
async fn tell_sidecars(sidecars: Option<&Sidecars>, plan: &Plan, observed: &Observed) {
    let Some(sidecars) = sidecars else { return };
    let drained = plan.drain.draining.iter().filter_map(|name| observed.pod(name)).map(|pod| (pod, true));
    let freed = plan.drain.unmark.iter().filter_map(|name| observed.pod(name));
    let freed = freed.filter(|pod| since(pod).is_some());
    sidecars.drain(drained.chain(freed.map(|pod| (pod, false)))).await;
}

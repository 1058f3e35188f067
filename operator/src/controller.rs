//! What makes a service be looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_api::{AMPDPrefillScale, AMPDService};
use ampd_render::labels;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, PartialObjectMeta};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::error::{ReconcileError, chain};
use crate::service::reconcile::reconcile;

/// Changes that come within so short a time are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Longest time for one service: the calls in it have deadlines of their own.
const WHOLE: Duration = Duration::from_mins(3);
/// How soon at the latest a service is looked at again whose child's name is taken.
const CONFLICT: Duration = Duration::from_secs(10);

/// Which objects are watched.
pub struct Scope {
    /// The API server.
    pub client: Client,
    /// The one namespace; all where it is `None`.
    pub namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// One reconcile's context.
struct Shared {
    context: Arc<Context>,
    backoff: Backoff,
    /// The services that are known.
    services: Store<Guarded>,
}

type Guarded = DeserializeGuard<AMPDService>;

/// Looks at services until `stop`; reconciles that run then come to their end.
pub async fn run(scope: Scope, context: Arc<Context>, concurrency: u16, stop: CancellationToken) {
    let (key, value) = labels::MANAGED_BY;
    let managed = watcher::Config::default().labels(&format!("{key}={value}"));
    let pods = scope.api::<PartialObjectMeta<Pod>>();
    let scales = scope.api::<AMPDPrefillScale>();
    let controller = Controller::new(scope.api::<Guarded>(), watcher::Config::default())
        .with_config(Config::default().concurrency(concurrency).debounce(DEBOUNCE));
    let shared = Arc::new(Shared { context, backoff: Backoff::default(), services: controller.store() });
    let controller = owns::<Deployment>(controller, &scope, &managed);
    let controller = owns::<Service>(controller, &scope, &managed);
    let controller = owns::<ServiceAccount>(controller, &scope, &managed);
    let controller = owns::<Role>(controller, &scope, &managed);
    let controller = owns::<RoleBinding>(controller, &scope, &managed);
    let controller = owns::<PodDisruptionBudget>(controller, &scope, &managed);
    let controller = owns::<NetworkPolicy>(controller, &scope, &managed);
    let controller = controller
        .watches(pods, managed, |pod| service_of(&pod))
        .watches(scales, watcher::Config::default(), |scale| {
            Some(ObjectRef::new(&scale.name_any()).within(&scale.namespace().unwrap_or_default()))
        })
        .graceful_shutdown_on(stop.cancelled_owned());
    let metrics = shared.context.metrics.clone();
    controller
        .run(one, again, shared)
        .for_each(|result| {
            // What a reconcile ran into is told by `one`; what is left are the watches.
            if let Err(error) = result
                && !matches!(
                    error,
                    controller::Error::ReconcilerFailed(..)
                        // A service that was deleted before its turn came.
                        | controller::Error::ObjectNotFound(..)
                )
            {
                metrics.watch_restarts.with(["AMPDService"]).inc();
                tracing::warn!(error = &error as &dyn std::error::Error, "a watch is started again");
            }
            std::future::ready(())
        })
        .await;
}

fn owns<K>(controller: Controller<Guarded>, scope: &Scope, managed: &watcher::Config) -> Controller<Guarded>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    controller.owns(scope.api::<K>(), managed.clone())
}

/// The service that a pod belongs to: its owner is a `ReplicaSet`, so it is told by its label.
fn service_of(pod: &PartialObjectMeta<Pod>) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get(labels::INSTANCE)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

async fn one(object: Arc<Guarded>, shared: Arc<Shared>) -> Result<Action, ReconcileError> {
    let context = &shared.context;
    let started = Instant::now();
    let _running = context.health.reconciling(started);
    context.metrics.reconciles_inflight.inc();
    let result = match &object.0 {
        Ok(resource) => match tokio::time::timeout(WHOLE, Box::pin(reconcile(resource, context))).await {
            Ok(result) => result,
            Err(_) => Err(ReconcileError::ApiTimeout { action: "the whole reconcile".into(), within: WHOLE }),
        },
        Err(invalid) => Err(ReconcileError::InvalidObject(invalid.error.clone())),
    };
    let outcome = result.as_ref().map_or_else(ReconcileError::kind, |_| "ok");
    context.metrics.reconciles_inflight.dec();
    context.metrics.reconciles.with([outcome]).inc();
    context.metrics.objects.with(["AMPDService"]).set(shared.services.len() as f64);
    context.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());
    if result.is_ok() {
        context.metrics.last_success_seconds.set(jiff::Timestamp::now().as_second() as f64);
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    match result {
        Ok(wait) => {
            shared.backoff.passed(&object.uid().unwrap_or_default());
            Ok(Action::requeue(wait))
        }
        Err(error) => {
            tracing::warn!(
                service = format!("{namespace}/{name}"),
                error = chain(&error),
                "the service is not as it should be"
            );
            context.tell_failure(&object, &error);
            Err(error)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that the controller asks for")]
fn again(object: Arc<Guarded>, error: &ReconcileError, shared: Arc<Shared>) -> Action {
    if error.needs_another_manifest() {
        return Action::await_change();
    }
    let wait = shared.backoff.failed(&object.uid().unwrap_or_default(), Instant::now());
    // Nothing tells when what is in the way has gone.
    Action::requeue(if error.is_name_conflict() { wait.min(CONFLICT) } else { wait })
}

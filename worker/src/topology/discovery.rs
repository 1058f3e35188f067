//! A topology from the API server: two watches, one for the EndpointSlices of each Service.

mod kept;

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, utils::StreamBackoff};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::kept::Kept;
use super::{Topology, Unusable, from_slices};
use crate::process::chain;

/// The label that says whose slice it is.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// How long one watch lasts before it is begun anew, seconds: a connection that died without a word is noticed then.
const WATCH_S: u32 = 60;
/// For the API server's answers; a watch that is idle has one when it ends.
const READ: Duration = Duration::from_secs(WATCH_S as u64 + 10);
/// For connecting to it.
const CONNECT: Duration = Duration::from_secs(5);
/// After this the wait for the first lists is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// An error that was told is told again when it comes back after so long.
const FORGET: Duration = Duration::from_mins(5);
/// Endpoints that cannot be used are told one by one up to so many.
const TOLD: usize = 8;

/// The Services whose endpoints are a service's workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// Namespace of all.
    pub namespace: String,
    /// The service's name.
    pub service: String,
    /// The Service of the decode workers, which have ports `control`, `kv` and `sidecar`.
    pub decode: String,
    /// The Service of the prefill workers, which have a port `control`.
    pub prefill: String,
}

/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// This is no pod, and there is no kubeconfig.
    #[error("there is no configuration for the API server")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The configuration cannot be used.
    #[error("the configuration for the API server cannot be used")]
    Client(#[source] Box<kube::Error>),
}

/// A client of the API server: the one that `KUBECONFIG` names, else the cluster's own. Nothing is sent yet.
///
/// # Errors
/// When there is no configuration, or none that can be used.
pub async fn client() -> Result<Client, ClusterError> {
    // Fails when there is one already, and that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = kube::Config::infer().await.map_err(|error| ClusterError::Config(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))
}

/// Follows the Services' endpoints until `stop`. The receiver holds an unknown topology until the API server has given
/// both lists, and the last one whenever it does not answer; `failed` is called at each failure.
pub fn discover(
    client: &Client,
    services: Services,
    failed: impl Fn() + Send + 'static,
    stop: CancellationToken,
) -> (watch::Receiver<Arc<Topology>>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(Arc::new(Topology::default()));
    let api = Api::namespaced(client.clone(), &services.namespace);
    let decode = follow(&api, &services.decode).map(|event| (Role::Decode, event));
    let prefill = follow(&api, &services.prefill).map(|event| (Role::Prefill, event));
    let follower = Follower { services, sender, kept: Default::default(), unusable: Vec::new() };
    let task = follower.run(futures::stream::select(decode, prefill), failed);
    let task = tokio::spawn(async move { stop.run_until_cancelled(task).await.unwrap_or(()) });
    (receiver, task)
}

/// The changes of one Service's slices, for ever; after an error with a pause that grows.
fn follow(
    api: &Api<EndpointSlice>,
    service: &str,
) -> StreamBackoff<
    impl Stream<Item = watcher::Result<Event<EndpointSlice>>> + Send + use<>,
    watcher::DefaultBackoff,
> {
    // What the API server has in memory does: there may be as many readers as there are decode workers.
    let config = watcher::Config::default()
        .labels(&format!("{SERVICE_LABEL}={service}"))
        .any_semantic()
        .timeout(WATCH_S);
    watcher(api.clone(), config).default_backoff()
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Decode,
    Prefill,
}

/// Turns events into topologies.
struct Follower {
    services: Services,
    sender: watch::Sender<Arc<Topology>>,
    /// The slices of decode and of prefill workers.
    kept: [Kept; 2],
    /// What could not be used the last time.
    unusable: Vec<Unusable>,
}

impl Follower {
    async fn run(
        mut self,
        events: impl Stream<Item = (Role, watcher::Result<Event<EndpointSlice>>)>,
        failed: impl Fn(),
    ) {
        let mut events = pin!(events);
        let mut told: [Option<(String, Instant)>; 2] = Default::default();
        let mut patience = pin!(sleep(PATIENCE));
        let mut patient = true;
        loop {
            let (role, event) = tokio::select! {
                () = &mut patience, if patient => {
                    patient = false;
                    if self.sender.borrow().is_unknown() {
                        tracing::warn!("the API server has not told the service's workers yet; nothing is served until then");
                    }
                    continue;
                }
                event = events.next() => match event {
                    Some(event) => event,
                    // The watches never end.
                    None => return,
                },
            };
            let service = match role {
                Role::Decode => &self.services.decode,
                Role::Prefill => &self.services.prefill,
            };
            match event {
                Ok(event) => {
                    if self.kept[role as usize].take_in(event) {
                        if told[role as usize].take().is_some() {
                            tracing::info!(service, "the API server answers again");
                        }
                        self.publish();
                    }
                }
                Err(error) => {
                    failed();
                    let (text, now) = (chain(&error as &dyn Error), Instant::now());
                    let told = &mut told[role as usize];
                    let fresh = told
                        .as_ref()
                        .is_none_or(|(last, at)| *last != text || now.duration_since(*at) > FORGET);
                    if fresh {
                        tracing::warn!(
                            service,
                            error = text,
                            "the API server cannot be asked; the last topology stays"
                        );
                    }
                    *told = Some((text, now));
                }
            }
        }
    }

    /// Makes the topology known if both lists are there.
    fn publish(&mut self) {
        let [decode, prefill] = &self.kept;
        if !(decode.complete() && prefill.complete()) {
            return;
        }
        let Services { namespace, service, .. } = &self.services;
        let (topology, unusable) = from_slices(namespace, service, decode.slices(), prefill.slices());
        if unusable != self.unusable {
            for one in unusable.iter().take(TOLD) {
                tracing::warn!(count = unusable.len(), "an endpoint cannot be used: {one}");
            }
            self.unusable = unusable;
        }
        let (decode, prefill) = (topology.decode.len(), topology.prefill.len());
        let changed = self.sender.send_if_modified(|current| {
            let changed = **current != topology;
            if changed {
                *current = Arc::new(topology);
            }
            changed
        });
        if changed {
            tracing::info!(decode, prefill, "the topology has changed");
        }
    }
}

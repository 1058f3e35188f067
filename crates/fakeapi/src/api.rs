//! The API as tests hold it.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tower::BoxError;

use crate::answer::{Body, nonsense, respond};
use crate::call::{Call, Verb};
use crate::fault::Fault;
use crate::scale::ScalePaths;
use crate::store::{Store, Write};
use crate::target::{Resource, Target};
use crate::watch;

type Faults = Arc<dyn Fn(&Call) -> Fault + Send + Sync>;

/// A Kubernetes API within the process. Clones are the same API.
#[derive(Clone)]
pub struct FakeApi {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Mutex<Store>>,
    faults: RwLock<Faults>,
    down: AtomicBool,
    /// Requests on their way; they end with the API.
    delayed: Mutex<JoinSet<()>>,
}

impl Default for FakeApi {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApi {
    /// An API without objects and faults.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            store: Arc::default(),
            faults: RwLock::new(Arc::new(|_| Fault::Pass)),
            down: AtomicBool::new(false),
            delayed: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client of this API, whose requests meet its faults and whose writes are recorded. Unlike the client of a cluster,
    /// it does not itself repeat requests that were answered 429, 503 or 504.
    #[must_use]
    pub fn client(&self, namespace: &str) -> Client {
        self.client_of(namespace, true)
    }

    /// A client for the test itself, and for what stands in for the rest of a cluster: it meets no faults, and nothing that
    /// it does is recorded.
    #[must_use]
    pub fn admin(&self, namespace: &str) -> Client {
        self.client_of(namespace, false)
    }

    fn client_of(&self, namespace: &str, faulty: bool) -> Client {
        let shared = self.shared.clone();
        let service = tower::service_fn(move |request| {
            let shared = shared.clone();
            async move { shared.serve(request, faulty).await }
        });
        Client::new(service, namespace)
    }

    /// Answers a request as one of [`Self::client`].
    pub(crate) async fn answer(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Body>, BoxError> {
        self.shared.serve(request, true).await
    }

    /// Asks this closure about each request from now on.
    pub fn set_faults(&self, faults: impl Fn(&Call) -> Fault + Send + Sync + 'static) {
        *self.shared.faults.write() = Arc::new(faults);
    }

    /// Lets all requests pass again.
    pub fn clear_faults(&self) {
        self.set_faults(|_| Fault::Pass);
    }

    /// While it is down, every connection is refused; going down cuts off all watches.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
        if down {
            self.drop_watches();
        }
    }

    /// Cuts off all watches, those of [`Self::admin`] too. They can go on where they were.
    pub fn drop_watches(&self) {
        self.shared.store.lock().signal.send_modify(|signal| signal.cuts += 1);
    }

    /// Makes all watches, and all that go on from an earlier resource version, end with 410 Gone.
    pub fn expire_watches(&self) {
        self.shared.store.lock().expire();
    }

    /// Answers 404 for everything in a group, as where its definitions are not installed.
    pub fn set_missing(&self, group: &str, missing: bool) {
        let mut store = self.shared.store.lock();
        if missing {
            store.missing.insert(group.to_owned());
        } else {
            store.missing.remove(group);
        }
    }

    /// Takes over from a definition where its objects have their scale. Kinds without one have `spec.replicas`.
    pub fn define(&self, definition: &CustomResourceDefinition) {
        let resource =
            Resource { group: definition.spec.group.clone(), plural: definition.spec.names.plural.clone() };
        let mut versions = definition.spec.versions.iter();
        let scale = versions.find_map(|version| version.subresources.as_ref()?.scale.clone());
        if let Some(scale) = scale {
            let pointer = |path: &str| path.replace('.', "/");
            let paths = ScalePaths {
                wanted: pointer(&scale.spec_replicas_path),
                present: pointer(&scale.status_replicas_path),
                selector: scale.label_selector_path.as_deref().map(pointer),
            };
            self.shared.store.lock().scales.insert(resource, paths);
        }
    }

    /// Lets token reviews say that whoever has this token is this user.
    pub fn set_token(&self, token: &str, user: &str) {
        self.shared.store.lock().access.tokens.insert(token.to_owned(), user.to_owned());
    }

    /// Lets access reviews say that a user may do this with a path that is no resource.
    pub fn permit(&self, user: &str, verb: &str, path: &str) {
        let permitted = (user.to_owned(), verb.to_owned(), path.to_owned());
        self.shared.store.lock().access.permitted.insert(permitted);
    }

    /// The writes so far, in the order of their arrival.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.shared.store.lock().writes.clone()
    }

    /// Forgets the writes so far, and returns them.
    #[must_use]
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.shared.store.lock().writes)
    }

    /// The object at a path such as `/apis/apps/v1/namespaces/default/deployments/chat`.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Value> {
        let target = Target::parse(path)?;
        let key = target.key(target.name.as_deref()?);
        self.shared.store.lock().objects.get(&key).map(|stored| stored.body.clone())
    }

    /// The objects under a path such as `/api/v1/namespaces/default/pods`, in the order of their names.
    #[must_use]
    pub fn objects(&self, path: &str) -> Vec<Value> {
        let Some(target) = Target::parse(path) else { return Vec::new() };
        let store = self.shared.store.lock();
        let found = store.objects.iter().filter(|(key, _)| target.covers(key));
        found.map(|(_, stored)| stored.body.clone()).collect()
    }

    /// All objects that there are, each as `resource.group/namespace/name`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let store = self.shared.store.lock();
        let name = |key: &crate::target::Key| {
            let resource = format!("{}.{}", key.resource.plural, key.resource.group);
            format!("{}/{}/{}", resource.trim_end_matches('.'), key.namespace, key.name)
        };
        store.objects.keys().map(name).collect()
    }

    /// Looks again after each change until `look` gives a value.
    ///
    /// # Errors
    /// When nothing was there within `limit`.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut signal = self.shared.store.lock().signal.subscribe();
        let looking = async {
            loop {
                signal.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                // The sender lives as long as this handle.
                let _ = signal.changed().await;
            }
        };
        tokio::time::timeout(limit, looking)
            .await
            .map_err(|_| anyhow::anyhow!("{what}: not within {limit:?}; there are {:?}", self.names()))
    }
}

impl Shared {
    async fn serve(
        &self,
        request: Request<kube::client::Body>,
        faulty: bool,
    ) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let broken = |kind: ErrorKind| Err(std::io::Error::from(kind).into());
        if faulty && self.down.load(Ordering::SeqCst) {
            return broken(ErrorKind::ConnectionRefused);
        }
        let call = match Call::parse(&head.method, &head.uri, &head.headers, &body) {
            Ok(call) => call,
            Err(refused) => return Ok(respond(Err(refused))),
        };
        let faults = self.faults.read().clone();
        let fault = if faulty { faults(&call) } else { Fault::Pass };
        match fault {
            Fault::Pass => Ok(perform(&self.store, call, faulty)),
            Fault::Fail(code, reason) => {
                let refused = crate::answer::Refused::new(code, reason, "a fault of the test");
                Ok(respond(Err(refused)))
            }
            Fault::Garbage => Ok(nonsense()),
            Fault::DropBefore => broken(ErrorKind::ConnectionReset),
            Fault::CommitThenDrop => {
                drop(perform(&self.store, call, faulty));
                broken(ErrorKind::ConnectionReset)
            }
            Fault::Delay(time) => self.perform_later(call, faulty, time).await,
            Fault::Hang => std::future::pending().await,
        }
    }

    /// In a task of its own, so that it happens even when nobody waits for the answer any more.
    async fn perform_later(
        &self,
        call: Call,
        recorded: bool,
        time: Duration,
    ) -> Result<Response<Body>, BoxError> {
        let (answer, answered) = oneshot::channel();
        let store = self.store.clone();
        {
            let mut delayed = self.delayed.lock();
            while delayed.try_join_next().is_some() {}
            delayed.spawn(async move {
                tokio::time::sleep(time).await;
                // Whoever asked may have gone.
                let _ = answer.send(perform(&store, call, recorded));
            });
        }
        Ok(answered.await?)
    }
}

fn perform(store: &Arc<Mutex<Store>>, call: Call, recorded: bool) -> Response<Body> {
    if call.verb == Verb::Watch {
        return watch::open(store, call);
    }
    respond(store.lock().perform(&call, recorded))
}

impl fmt::Debug for FakeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeApi").field("names", &self.names()).finish_non_exhaustive()
    }
}

//! An API server that knows EndpointSlices only, and fails in the ways that API servers do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices";
const LABEL: &str = "kubernetes.io/service-name";

/// How every request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// As while the API server starts: 503.
    Unavailable,
    /// As without the right to: 403.
    Forbidden,
    /// An answer that is not what was asked for.
    Garbage,
}

/// The API server; clones share their state.
#[derive(Clone, Default)]
pub struct FakeApi {
    state: watch::Sender<Contents>,
    lists: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    version: u64,
    /// By Service and name.
    slices: BTreeMap<(String, String), Value>,
    /// Changes since `oldest`: version, Service, event.
    changes: Vec<(u64, String, Value)>,
    oldest: u64,
    fault: Option<Fault>,
    /// Watches of earlier ones have ended.
    connections: u64,
}

impl FakeApi {
    /// Makes or changes a slice of a Service; of `slice`, `ports` and `endpoints` are taken.
    pub fn put(&self, service: &str, name: &str, slice: &Value) {
        self.state.send_modify(|state| {
            let key = (service.to_owned(), name.to_owned());
            let kind = if state.slices.contains_key(&key) { "MODIFIED" } else { "ADDED" };
            state.version += 1;
            let object = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "namespace": "team", "labels": {LABEL: service},
                             "resourceVersion": state.version.to_string()},
                "ports": slice["ports"], "endpoints": slice["endpoints"],
            });
            state.slices.insert(key, object.clone());
            state.changes.push((state.version, service.to_owned(), json!({"type": kind, "object": object})));
        });
    }

    /// Removes a slice.
    pub fn delete(&self, service: &str, name: &str) {
        self.state.send_modify(|state| {
            if let Some(mut object) = state.slices.remove(&(service.to_owned(), name.to_owned())) {
                state.version += 1;
                object["metadata"]["resourceVersion"] = json!(state.version.to_string());
                let event = json!({"type": "DELETED", "object": object});
                state.changes.push((state.version, service.to_owned(), event));
            }
        });
    }

    /// From now on everything fails like this, or works again.
    pub fn fails(&self, fault: Option<Fault>) {
        self.state.send_modify(|state| state.fault = fault);
    }

    /// Forgets all changes: whoever wants one from before is told that it is gone.
    pub fn forget(&self) {
        self.state.send_modify(|state| {
            state.version += 1;
            state.changes.clear();
            state.oldest = state.version;
        });
    }

    /// Ends all watches without a word.
    pub fn drop_watches(&self) {
        self.state.send_modify(|state| state.connections += 1);
    }

    /// Lists that were answered.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }

    /// What answers.
    pub fn router(&self) -> Router {
        Router::new().route(SLICES, get(answer)).with_state(self.clone())
    }

    /// Answers on a port, and the kubeconfig that leads there.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn serve(&self) -> std::io::Result<(String, JoinHandle<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = self.router();
        // Ends with an error only when the port is gone.
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok((kubeconfig(address), task))
    }

    /// The changes after `from` that a watch of `service` is to hear of, whether it ends with them, and where it goes on.
    fn changes(&self, service: &str, from: u64, connections: u64) -> (Vec<Value>, bool, u64) {
        let state = self.state.borrow();
        if state.connections != connections {
            return (Vec::new(), true, from);
        }
        if from < state.oldest {
            let gone = json!({"type": "ERROR", "object": status(StatusCode::GONE, "Expired")});
            return (vec![gone], true, from);
        }
        let new = state.changes.iter().filter(|(version, of, _)| *version > from && of == service);
        (new.map(|(_, _, event)| event.clone()).collect(), false, state.version)
    }
}

fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    })
    .to_string()
}

fn status(code: StatusCode, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": reason, "reason": reason,
           "code": code.as_u16()})
}

async fn answer(State(api): State<FakeApi>, request: Request) -> Response {
    let failed = |code, reason| (code, axum::Json(status(code, reason))).into_response();
    let Ok(url) = reqwest::Url::parse(&format!("http://fake{}", request.uri())) else {
        return failed(StatusCode::BAD_REQUEST, "BadRequest");
    };
    let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let selector =
        query.get("labelSelector").and_then(|selector| selector.strip_prefix(&format!("{LABEL}=")));
    let Some(service) = selector.map(ToOwned::to_owned) else {
        return failed(StatusCode::BAD_REQUEST, "BadRequest");
    };
    let state = api.state.borrow().clone();
    match state.fault {
        Some(Fault::Unavailable) => return failed(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        Some(Fault::Forbidden) => return failed(StatusCode::FORBIDDEN, "Forbidden"),
        Some(Fault::Garbage) => return "<html>this is not the API server</html>".into_response(),
        None => {}
    }
    if !query.contains_key("watch") {
        api.lists.fetch_add(1, Ordering::SeqCst);
        let of_service = state.slices.iter().filter(|((of, _), _)| *of == service);
        let items: Vec<_> = of_service.map(|(_, slice)| slice.clone()).collect();
        return axum::Json(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
        }))
        .into_response();
    }
    let from = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    Body::from_stream(watched(api, service, from, state.connections)).into_response()
}

fn watched(
    api: FakeApi,
    service: String,
    from: u64,
    connections: u64,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> {
    let heard = api.state.subscribe();
    futures::stream::unfold((Some(from), heard), move |(from, mut heard)| {
        let (api, service) = (api.clone(), service.clone());
        async move {
            let from = from?;
            loop {
                heard.mark_unchanged();
                let (events, ends, next) = api.changes(&service, from, connections);
                if !events.is_empty() {
                    let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
                    let lines = lines.join("\n") + "\n";
                    return Some((Ok(lines.into()), ((!ends).then_some(next), heard)));
                }
                if ends {
                    return None;
                }
                heard.changed().await.ok()?;
            }
        }
    })
}

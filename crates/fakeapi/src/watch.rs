//! Watches: changes as lines of a body that does not end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::BoxError;

use crate::answer::{Body, Refused, metadata_of, respond, with_body};
use crate::call::Call;
use crate::selector::Selector;
use crate::store::{Change, Signal, Store};

struct Watching {
    store: Arc<Mutex<Store>>,
    call: Call,
    selector: Selector,
    signal: watch::Receiver<Signal>,
    /// How often watches had been cut off when this one began.
    cuts: u64,
    /// The last revision that this watch has seen.
    seen: u64,
    lines: VecDeque<Value>,
    ended: bool,
}

/// Opens a watch.
pub(crate) fn open(store: &Arc<Mutex<Store>>, call: Call) -> Response<Body> {
    match begin(store, call) {
        Err(refused) => respond(Err(refused)),
        Ok(watching) => {
            let limit = watching.call.query.get("timeoutSeconds").and_then(|text| text.parse().ok());
            let limit = Duration::from_secs(limit.unwrap_or(290));
            let lines = lines(watching).take_until(tokio::time::sleep(limit));
            with_body(200, StreamBody::new(lines).boxed_unsync())
        }
    }
}

fn begin(store: &Arc<Mutex<Store>>, call: Call) -> Result<Watching, Refused> {
    let locked = store.lock();
    locked.check_served(&call)?;
    let selector = Selector::of(&call)?;
    let from = call.query.get("resourceVersion").map_or("", String::as_str);
    let initial = call.flag("sendInitialEvents");
    let mut lines = VecDeque::new();
    let seen = if initial || from.is_empty() || from == "0" {
        lines.extend(locked.selected(&call)?.into_iter().map(|object| line("ADDED", &object)));
        locked.revision
    } else {
        from.parse().map_err(|_| Refused::bad_request(format!("invalid resource version {from}")))?
    };
    if initial {
        let metadata = json!({
            "resourceVersion": locked.revision.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        });
        let mark = json!({"apiVersion": call.target.api_version(), "kind": "Bookmark", "metadata": metadata});
        lines.push_back(line("BOOKMARK", &mark));
    }
    let signal = locked.signal.subscribe();
    let cuts = signal.borrow().cuts;
    drop(locked);
    Ok(Watching { store: store.clone(), call, selector, signal, cuts, seen, lines, ended: false })
}

fn line(what: &str, object: &Value) -> Value {
    json!({"type": what, "object": object})
}

fn lines(watching: Watching) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> {
    stream::unfold(watching, |mut watching| async move {
        loop {
            if let Some(line) = watching.lines.pop_front() {
                return Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), watching));
            }
            if watching.ended {
                return None;
            }
            let cut = watching.signal.borrow_and_update().cuts != watching.cuts;
            if cut {
                watching.ended = true;
                let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                return Some((Err(error.into()), watching));
            }
            watching.look();
            if watching.lines.is_empty() && watching.signal.changed().await.is_err() {
                return None;
            }
        }
    })
}

impl Watching {
    /// Takes over the changes since the last look.
    fn look(&mut self) {
        let store = self.store.lock();
        if self.seen < store.floor {
            let gone = Refused::new(410, "Expired", format!("too old resource version: {}", self.seen));
            self.lines.push_back(line("ERROR", &gone.status()));
            self.ended = true;
            return;
        }
        let changes = store.log.iter().rev().take_while(|change| change.revision > self.seen);
        let changes: Vec<Value> = changes.filter_map(|change| self.told(change)).collect();
        self.lines.extend(changes.into_iter().rev());
        self.seen = self.seen.max(store.revision);
    }

    /// How this watch tells a change: what comes to be selected is new to it, what is no longer so is gone.
    fn told(&self, change: &Change) -> Option<Value> {
        if !self.call.target.covers(&change.key) {
            return None;
        }
        let before = change.old.as_ref().is_some_and(|old| self.selector.matches(old));
        let after = !change.deleted && self.selector.matches(&change.new);
        let what = match (before, after) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        let object = if self.call.metadata_only { metadata_of(&change.new) } else { change.new.clone() };
        Some(line(what, &object))
    }
}

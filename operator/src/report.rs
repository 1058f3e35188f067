//! Events, for `kubectl describe`. They never slow or fail a reconcile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_telemetry::OperatorMetrics;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::chain;

/// Events that wait to be written.
const QUEUE: usize = 512;
/// Longest note that the API takes, bytes.
const NOTE: usize = 1024;
/// How long the same event is not told again.
const QUIET: Duration = Duration::from_mins(10);
/// Events that are remembered for that.
const REMEMBERED: usize = 4096;
/// How long one event may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

struct Told {
    about: ObjectReference,
    reason: &'static str,
    note: String,
    severity: Severity,
}

/// Takes events.
#[derive(Clone)]
pub struct Reporter {
    queue: mpsc::Sender<Told>,
    metrics: Arc<OperatorMetrics>,
}

impl Reporter {
    /// A reporter by the name of `instance`, and the task that writes; it ends when the last reporter is gone.
    #[must_use]
    pub fn start(client: Client, instance: &str, metrics: Arc<OperatorMetrics>) -> (Self, JoinHandle<()>) {
        let (queue, told) = mpsc::channel(QUEUE);
        let source = Source { controller: "ampd-operator".into(), instance: Some(instance.into()) };
        let task = tokio::spawn(write(Recorder::new(client, source), told, metrics.clone()));
        (Self { queue, metrics }, task)
    }

    /// Tells `note` about an object, unless it was told a short while ago.
    pub fn publish(&self, about: ObjectReference, reason: &'static str, note: &str, severity: Severity) {
        let told = Told { about, reason, note: cut(note), severity };
        if self.queue.try_send(told).is_err() {
            self.metrics.events.with(["dropped"]).inc();
        }
    }
}

async fn write(recorder: Recorder, mut queue: mpsc::Receiver<Told>, metrics: Arc<OperatorMetrics>) {
    let mut before: HashMap<(String, &'static str, String), Instant> = HashMap::new();
    while let Some(Told { about, reason, note, severity }) = queue.recv().await {
        let key = (about.uid.clone().unwrap_or_default(), reason, note.clone());
        let now = Instant::now();
        if before.get(&key).is_some_and(|told| now.duration_since(*told) < QUIET) {
            continue;
        }
        if before.len() >= REMEMBERED {
            before.retain(|_, told| now.duration_since(*told) < QUIET);
        }
        if before.len() < REMEMBERED {
            before.insert(key, now);
        }
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: reason.into(),
            // The recorder puts events of one reason and action together and keeps the first note: another note is another
            // action.
            action: format!("Reconcile-{:08x}", short_hash(&note)),
            note: Some(note),
            secondary: None,
        };
        match timeout(DEADLINE, recorder.publish(&event, &about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                metrics.events.with(["failed"]).inc();
                tracing::debug!(error = chain(&error), reason, "an event is not written");
            }
            Err(_) => metrics.events.with(["failed"]).inc(),
        }
    }
}

fn short_hash(text: &str) -> u32 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish() as u32
}

fn cut(note: &str) -> String {
    let end = (0..=NOTE.min(note.len())).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    note[..end].to_owned()
}

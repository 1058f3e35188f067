//! Events for people, next to the objects that they are about.
//!
//! Publishing never waits and never fails: reports go through a queue to a task of their own, and what cannot be sent is
//! counted and logged. The same words about the same object are not repeated within ten minutes.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use ampd_telemetry::OperatorMetrics;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::condition::Reason;
use crate::text;

/// Longest note, bytes.
const MAX_NOTE: usize = 1024;
/// Reports that may wait.
const QUEUE: usize = 256;
/// How long the same words are not repeated.
const SILENCE: Duration = Duration::from_mins(10);
/// Words that are remembered for that.
const REMEMBERED: usize = 4096;
/// How long one event may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what waits at the end may take.
const GRACE: Duration = Duration::from_secs(2);

/// Where reports go in. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reports {
    queue: mpsc::Sender<Report>,
    metrics: Arc<OperatorMetrics>,
}

/// The task that sends reports.
#[derive(Debug)]
pub struct Reporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Report {
    severity: EventType,
    reason: Reason,
    note: String,
    about: ObjectReference,
}

/// Starts reporting in the name of `controller`, of which this process is `instance`.
#[must_use]
pub fn start(
    client: Client,
    controller: &str,
    instance: &str,
    metrics: Arc<OperatorMetrics>,
) -> (Reports, Reporting) {
    let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance.to_owned()) };
    let (queue, reports) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let sender =
        Sender { recorder: Recorder::new(client, reporter), metrics: metrics.clone(), said: BTreeMap::new() };
    let task = tokio::spawn(sender.run(reports, stop.clone()));
    (Reports { queue, metrics }, Reporting { stop, task })
}

impl Reports {
    /// Reports something about an object.
    pub fn publish(&self, severity: EventType, reason: Reason, note: String, about: &ObjectReference) {
        let note = text::within(note, MAX_NOTE);
        // Of which version of the object it is said makes no difference to whether it was said before.
        let about = ObjectReference { resource_version: None, ..about.clone() };
        if self.queue.try_send(Report { severity, reason, note, about }).is_err() {
            self.metrics.events.with(["dropped"]).inc();
        }
    }
}

impl Reporting {
    /// Sends what waits, for a short time, and ends.
    pub async fn finish(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the reporting of events broke off");
        }
    }
}

/// What was said, about what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Words {
    uid: String,
    /// Kind, namespace and name, for references without a uid.
    object: [String; 3],
    reason: Reason,
    note: u64,
}

impl Words {
    fn of(report: &Report) -> Self {
        let about = &report.about;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let mut note = DefaultHasher::new();
        report.note.hash(&mut note);
        Self {
            uid: text(&about.uid),
            object: [text(&about.kind), text(&about.namespace), text(&about.name)],
            reason: report.reason,
            note: note.finish(),
        }
    }
}

struct Sender {
    recorder: Recorder,
    metrics: Arc<OperatorMetrics>,
    /// When each was last said.
    said: BTreeMap<Words, Instant>,
}

impl Sender {
    async fn run(mut self, mut reports: mpsc::Receiver<Report>, stop: CancellationToken) {
        let sending = async {
            let mut closed = false;
            loop {
                tokio::select! {
                    report = reports.recv() => match report {
                        Some(report) => self.send(report).await,
                        None => return,
                    },
                    () = stop.cancelled(), if !closed => {
                        reports.close();
                        closed = true;
                    }
                }
            }
        };
        tokio::select! {
            () = sending => {}
            () = async { stop.cancelled().await; sleep(GRACE).await } => {}
        }
        while reports.try_recv().is_ok() {
            self.metrics.events.with(["dropped"]).inc();
        }
    }

    async fn send(&mut self, report: Report) {
        let words = Words::of(&report);
        let now = Instant::now();
        if self.said.get(&words).is_some_and(|at| now.duration_since(*at) < SILENCE) {
            self.metrics.events.with(["repeated"]).inc();
            return;
        }
        let event = Event {
            type_: report.severity,
            reason: report.reason.as_str().to_owned(),
            note: Some(report.note),
            // The recorder counts events of the same action and reason on as one, with the first one's note.
            action: format!("Reconcile-{:016x}", words.note),
            secondary: None,
        };
        let outcome = match timeout(PATIENCE, self.recorder.publish(&event, &report.about)).await {
            Ok(Ok(())) => {
                self.remember(words, now);
                "sent"
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    event.reason,
                    "cannot send an event"
                );
                "failed"
            }
            Err(_) => {
                tracing::warn!(event.reason, "an event took longer than {PATIENCE:?}");
                "failed"
            }
        };
        self.metrics.events.with([outcome]).inc();
    }

    fn remember(&mut self, words: Words, now: Instant) {
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, at| now.duration_since(*at) < SILENCE);
        }
        if self.said.len() >= REMEMBERED
            && let Some(oldest) = self.said.iter().min_by_key(|(_, at)| **at).map(|(words, _)| words.clone())
        {
            self.said.remove(&oldest);
        }
        self.said.insert(words, now);
    }
}

#[cfg(test)]
mod tests {
    use ampd_fakeapi::{FakeApi, Fault};

    use super::*;

    const STARTED: Reason = Reason::new("Started");
    const LIMIT: Duration = Duration::from_secs(30);

    fn about(name: &str, version: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("ampd.dev/v1alpha1".into()),
            kind: Some("AMPDService".into()),
            namespace: Some("a".into()),
            name: Some(name.into()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(version.into()),
            ..ObjectReference::default()
        }
    }

    fn begin(fake: &FakeApi) -> (Reports, Reporting, Arc<OperatorMetrics>) {
        let metrics = Arc::new(OperatorMetrics::new().unwrap());
        let (reports, reporting) = start(fake.client("a"), "ampd-operator", "pod-0", metrics.clone());
        (reports, reporting, metrics)
    }

    fn notes(fake: &FakeApi) -> Vec<String> {
        let events = fake.objects("/apis/events.k8s.io/v1/namespaces/a/events");
        let mut notes: Vec<String> =
            events.iter().map(|event| event["note"].as_str().unwrap().to_owned()).collect();
        notes.sort();
        notes
    }

    fn counts(metrics: &OperatorMetrics) -> [u64; 4] {
        ["sent", "repeated", "dropped", "failed"].map(|outcome| metrics.events.with([outcome]).get())
    }

    #[tokio::test]
    async fn the_same_words_are_said_once_and_new_ones_anew() {
        let fake = FakeApi::new();
        let (reports, reporting, metrics) = begin(&fake);
        let say = |note: &str, about: &ObjectReference| {
            reports.publish(EventType::Normal, STARTED, note.into(), about);
        };
        say("one", &about("x", "1"));
        say("one", &about("x", "2"));
        say("two", &about("x", "2"));
        say("one", &about("x", "3"));
        say("one", &about("y", "3"));
        say(&"ä".repeat(600), &about("y", "3"));
        reporting.finish().await;
        assert_eq!(counts(&metrics), [4, 2, 0, 0]);
        let notes = notes(&fake);
        assert_eq!(notes[..3], ["one", "one", "two"]);
        assert!(notes[3].len() <= MAX_NOTE && notes[3].ends_with("ä..."));
        let events = fake.objects("/apis/events.k8s.io/v1/namespaces/a/events");
        let first = &events[0];
        assert_eq!(first["reportingController"], "ampd-operator");
        assert_eq!(first["reportingInstance"], "pod-0");
        assert_eq!((&first["reason"], &first["type"]), (&"Started".into(), &"Normal".into()));
        assert!(first["regarding"]["uid"].as_str().unwrap().starts_with("uid-"));
    }

    #[tokio::test]
    async fn an_event_that_failed_is_sent_when_it_comes_again() {
        let fake = FakeApi::new();
        let (reports, reporting, metrics) = begin(&fake);
        fake.set_faults(|_| Fault::Fail(403, "Forbidden"));
        reports.publish(EventType::Warning, STARTED, "one".into(), &about("x", "1"));
        let failed = async {
            while counts(&metrics)[3] == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, failed).await.unwrap();
        fake.clear_faults();
        reports.publish(EventType::Warning, STARTED, "one".into(), &about("x", "1"));
        reporting.finish().await;
        assert_eq!(counts(&metrics), [1, 0, 0, 1]);
        assert_eq!(notes(&fake), ["one"]);
    }

    #[tokio::test]
    async fn an_api_that_hangs_holds_nobody_up() {
        let fake = FakeApi::new();
        let (reports, reporting, metrics) = begin(&fake);
        fake.set_faults(|_| Fault::Hang);
        let start = Instant::now();
        for index in 0..1000 {
            reports.publish(EventType::Normal, STARTED, format!("{index}"), &about("x", "1"));
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert!(counts(&metrics)[2] >= 1000 - QUEUE as u64 - 1);
        timeout(LIMIT, reporting.finish()).await.unwrap();
        reports.publish(EventType::Normal, STARTED, "late".into(), &about("x", "1"));
        let [sent, repeated, dropped, failed] = counts(&metrics);
        assert_eq!((sent, repeated), (0, 0));
        // The one that was under way at the end is neither.
        assert!(dropped + failed >= 1000, "{dropped} and {failed}");
    }

    #[tokio::test]
    async fn what_was_said_is_forgotten_in_the_end() {
        let fake = FakeApi::new();
        let metrics = Arc::new(OperatorMetrics::new().unwrap());
        let reporter = Reporter { controller: "c".into(), instance: None };
        let recorder = Recorder::new(fake.client("a"), reporter);
        let mut sender = Sender { recorder, metrics, said: BTreeMap::new() };
        let words = |note| Words { uid: String::new(), object: Default::default(), reason: STARTED, note };
        let start = Instant::now();
        for note in 0..REMEMBERED as u64 + 10 {
            sender.remember(words(note), start + Duration::from_millis(note));
        }
        assert_eq!(sender.said.len(), REMEMBERED);
        assert!(!sender.said.contains_key(&words(0)) && sender.said.contains_key(&words(10)));
        sender.remember(words(0), start + SILENCE * 2);
        assert_eq!(sender.said.len(), 1);
    }
}

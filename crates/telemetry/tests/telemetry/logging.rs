//! What a log line holds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ampd_telemetry::TraceContext;
use ampd_telemetry::logging::{self, Format, JsonLayer, LoggingError};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn logged(work: impl FnOnce()) -> Vec<Value> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(JsonLayer::new(lines.clone()));
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("cannot pull the history")]
struct Outer(#[source] io::Error);

#[test]
fn a_line_has_its_fields_its_spans_and_the_whole_error() {
    let context = TraceContext::new_root();
    let lines = logged(|| {
        let span = context.span();
        let _entered = span.enter();
        let inner = tracing::info_span!("prefill", session = "s\n1", tokens = tracing::field::Empty);
        inner.record("tokens", 7_u64);
        let error = Outer(io::Error::new(io::ErrorKind::TimedOut, "no answer in 2 s"));
        inner.in_scope(|| {
            tracing::warn!(
                target: "ampd_worker",
                error = &error as &(dyn std::error::Error + 'static),
                age = 0.5,
                ratio = f64::NAN,
                ok = false,
                "fell back {}",
                "to local"
            );
        });
        tracing::info!("outside");
    });
    let [first, second] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(first["level"], "WARN");
    assert_eq!(first["target"], "ampd_worker");
    assert_eq!(first["message"], "fell back to local");
    assert_eq!(
        first["fields"],
        json!({
            "error": "cannot pull the history: no answer in 2 s",
            "error.chain": ["cannot pull the history", "no answer in 2 s"],
            "age": 0.5, "ratio": "NaN", "ok": false,
        })
    );
    assert_eq!(
        first["span"],
        json!({"trace_id": context.trace_id(), "span_id": context.span_id(), "session": "s\n1", "tokens": 7})
    );
    let time = first["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert_eq!(second["span"]["trace_id"], context.trace_id());
    assert_eq!(second["span"].as_object().unwrap().len(), 2, "fields of a closed span must not stay");
}

#[test]
fn long_text_is_cut() {
    let lines = logged(|| tracing::info!(prompt = "\u{e4}".repeat(100_000), "x"));
    let prompt = lines[0]["fields"]["prompt"].as_str().unwrap();
    assert!(prompt.len() < 9000 && prompt.ends_with('\u{2026}'), "{} bytes", prompt.len());
}

#[test]
fn what_cannot_be_used_is_named() {
    let error = logging::init(Format::Json, "info,ampd=loudly").unwrap_err();
    assert!(
        matches!(&error, LoggingError::Filter { .. }) && error.to_string().contains("ampd=loudly"),
        "{error}"
    );
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("\"xml\"") && error.contains("human"), "{error}");
    for format in [Format::Human, Format::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
}

//! W3C trace context.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a failed unwrap fails the test"
)]

use ampd_telemetry::trace::{TRACEPARENT, TraceContext, TraceError};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn the_standard_example_is_read_and_written() {
    let context: TraceContext = VALID.parse().unwrap();
    assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context.span_id(), "b7ad6b7169203331");
    assert_eq!(context.to_string(), VALID);
    assert_eq!(context.header(), VALID);
    let later = VALID.replacen("00", "cc", 1);
    for later in [later.clone(), format!("{later}-more")] {
        assert_eq!(later.parse(), Ok(context), "a later version is read as far as it is known");
    }
}

#[test]
fn what_is_not_valid_is_refused() {
    for (text, error) in [
        (String::new(), TraceError::Form),
        (VALID[..54].to_owned(), TraceError::Form),
        (format!("{VALID}-more"), TraceError::Form),
        (format!("{}x", VALID.replacen("00", "01", 1)), TraceError::Form),
        (VALID.to_uppercase(), TraceError::Form),
        (VALID.replace('-', "_"), TraceError::Form),
        (VALID.replacen("0af", "+af", 1), TraceError::Form),
        (VALID.replacen("0af", "\u{e4}f", 1), TraceError::Form),
        (VALID.replacen("00", "ff", 1), TraceError::Version),
        (VALID.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), TraceError::Zero("trace")),
        (VALID.replace("b7ad6b7169203331", &"0".repeat(16)), TraceError::Zero("span")),
    ] {
        assert_eq!(text.parse::<TraceContext>(), Err(error), "{text}");
    }
}

#[test]
fn a_request_goes_on_with_its_trace_or_starts_one() {
    let mut headers = HeaderMap::new();
    let fresh = TraceContext::from_headers(&headers);
    assert_ne!(fresh, TraceContext::from_headers(&headers));
    headers.insert(TRACEPARENT, HeaderValue::from_static(VALID));
    assert_eq!(TraceContext::from_headers(&headers).to_string(), VALID);
    headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
    assert_ne!(TraceContext::from_headers(&headers).to_string(), VALID, "two headers contradict each other");
    headers.insert(TRACEPARENT, HeaderValue::from_static("00-zz"));
    let fresh = TraceContext::from_headers(&headers).to_string();
    assert!(fresh.ends_with("-01"), "{fresh}: a new trace is recorded");
}

proptest! {
    #[test]
    fn written_is_read_and_children_stay_in_the_trace(trace: u128, span: u64, child: u64) {
        let root = TraceContext::root(trace, span);
        prop_assert_eq!(root.to_string().parse(), Ok(root));
        let child = root.child(child);
        prop_assert_eq!(child.trace_id(), root.trace_id());
        prop_assert_eq!(child.to_string().parse(), Ok(child));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        let _ = text.parse::<TraceContext>();
    }
}

#[test]
fn zeros_never_become_an_id() {
    let root = TraceContext::root(0, 0);
    assert_eq!(root.to_string().parse(), Ok(root));
    assert_eq!(root.child(0).to_string().parse(), Ok(root.child(0)));
}

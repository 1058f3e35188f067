//! Trace context as W3C defines it: one trace id runs through the logs of all programs that serve a round.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use http::{HeaderMap, HeaderValue};

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// Bytes of a version 0 header.
const LENGTH: usize = 55;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// Why a header is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Not of the form `version-trace-span-flags` with lowercase hexadecimal digits.
    #[error("traceparent is not of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
    Form,
    /// The version that is never valid.
    #[error("traceparent has the version ff, which is invalid")]
    Version,
    /// The trace or the span is all zeros.
    #[error("traceparent names no {0}: its id is all zeros")]
    Zero(&'static str),
}

impl TraceContext {
    /// A new trace from random bits, marked as sampled.
    #[must_use]
    pub fn root(trace_id: u128, span_id: u64) -> Self {
        // All zeros are no id.
        Self { trace_id: trace_id.max(1), span_id: span_id.max(1), flags: 1 }
    }

    /// A new trace.
    #[must_use]
    pub fn new_root() -> Self {
        Self::root(rand::random(), rand::random())
    }

    /// A span of the same trace with an id of random bits.
    #[must_use]
    pub fn child(&self, span_id: u64) -> Self {
        Self { span_id: span_id.max(1), ..*self }
    }

    /// A span of the same trace.
    #[must_use]
    pub fn new_child(&self) -> Self {
        self.child(rand::random())
    }

    /// The caller's context, or a new trace where the caller sent none that is valid.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let context = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|value| value.parse().ok()),
            // Two of them contradict each other.
            _ => None,
        };
        context.unwrap_or_else(Self::new_root)
    }

    /// The value of the header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Digits and dashes are always a header value.
        HeaderValue::from_str(&self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span's id: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// A tracing span with this context's ids, for everything that is logged under it.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!("round", trace_id = %self.trace_id(), span_id = %self.span_id())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = TraceError;

    /// Strict for version 0; of later versions only the part that version 0 has is read, as the standard asks.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        let (known, rest) = text.split_at_checked(LENGTH).ok_or(TraceError::Form)?;
        let version = digits(known, 0..2)?;
        if version == 0xff {
            return Err(TraceError::Version);
        }
        let whole = rest.is_empty() || (version != 0 && rest.starts_with('-'));
        if !whole || [2, 35, 52].iter().any(|&dash| known.as_bytes()[dash] != b'-') {
            return Err(TraceError::Form);
        }
        let trace_id = digits(known, 3..35)?;
        let span_id = digits(known, 36..52)? as u64;
        if trace_id == 0 {
            return Err(TraceError::Zero("trace"));
        }
        if span_id == 0 {
            return Err(TraceError::Zero("span"));
        }
        // Only the flag that version 0 defines is passed on.
        let flags = digits(known, 53..55)? as u8 & 1;
        Ok(Self { trace_id, span_id, flags })
    }
}

/// Lowercase hexadecimal digits.
fn digits(text: &str, range: Range<usize>) -> Result<u128, TraceError> {
    let digits = text.get(range).ok_or(TraceError::Form)?;
    if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(TraceError::Form);
    }
    u128::from_str_radix(digits, 16).map_err(|_| TraceError::Form)
}

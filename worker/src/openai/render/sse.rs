//! Server-sent events.

use bytes::Bytes;
use serde::Serialize;

use crate::openai::ApiError;

/// The end of a stream that is complete.
#[must_use]
pub fn done_frame() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// A comment that keeps the connection alive.
#[must_use]
pub fn ping_frame() -> Bytes {
    Bytes::from_static(b": ping\n\n")
}

/// The last event of a stream that failed: no mark of the end follows it, and clients raise it.
#[must_use]
pub fn error_frame(error: &ApiError) -> Bytes {
    format!("data: {}\n\n", error.body()).into()
}

/// Adds an event.
pub(super) fn push(frames: &mut Vec<u8>, data: &impl Serialize) -> Result<(), ApiError> {
    frames.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *frames, data).map_err(|_| ApiError::nonsense())?;
    frames.extend_from_slice(b"\n\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_it_says() {
        let frame = error_frame(&ApiError::invalid("stop", "a\n\ndata: [DONE]\n\n"));
        let frame = std::str::from_utf8(&frame).unwrap();
        assert_eq!(frame.trim_end().lines().count(), 1);
        assert!(frame.starts_with("data: {\"error\":{") && frame.ends_with("}}\n\n"));
    }
}

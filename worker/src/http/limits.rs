//! Limits of a server.

use std::time::Duration;

/// What a server allows its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// From the first wait for a request until its head is there; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of all headers together.
    pub header_bytes: usize,
    /// Bytes of a request's target.
    pub uri_bytes: usize,
    /// How long a client may not take what is sent to it.
    pub write_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_timeout: Duration::from_secs(10),
            headers: 64,
            header_bytes: 32 << 10,
            uri_bytes: 8 << 10,
            write_timeout: Duration::from_mins(1),
        }
    }
}

//! The KV plane from outside: two ends, and what a peer may send.

mod arbitrary;
mod bounds;
mod common;
mod protocol;
mod refusals;
mod tls;

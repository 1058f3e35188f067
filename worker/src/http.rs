//! What every HTTP server of AMPD shares: an accept loop with limits and timeouts, checks that requests mean one thing
//! to everyone, bounded bodies, error bodies in JSON, and a bounded shutdown.

mod access;
mod body;
mod error;
mod guard;
mod limits;
mod listen;
mod server;
mod timed;

pub use access::{Access, METRICS, PROBES, Paths, Rights};
pub use body::{BodyLimits, WholeBody, read_body, read_json};
pub use error::HttpError;
pub use guard::guarded;
pub use limits::HttpLimits;
pub use listen::{ListenError, listen, require_tls};
pub use server::{HttpServer, HttpTls, serve};

//! The rounds of a decode worker: opened ones that wait for their `run`, and running ones.

mod handlers;
mod remote;
mod run;
mod table;

pub(super) use handlers::{bind, cancel, check_url, open, run};
pub(super) use table::RoundTable;

use ampd_kv::Leases;

use super::moves::MoveSide;

/// What only a decode worker has.
pub(super) struct DecodeSide {
    /// Its rounds.
    pub table: RoundTable,
    /// Leases for prefill workers, and for decode workers that sessions come from.
    pub leases: Leases,
    /// Where other workers find its KV, `host:port`.
    pub kv_addr: String,
    /// SAN URI of this worker, and of all decode workers of the service.
    pub own_uri: String,
    /// SAN URI that prefill workers have.
    pub prefill_uri: String,
    /// For calls to prefill workers.
    pub http: reqwest::Client,
    /// For sessions that come and go.
    pub moves: MoveSide,
}

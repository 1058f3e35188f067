//! KV-cache transfer between workers: framed protocol, leases, TLS.

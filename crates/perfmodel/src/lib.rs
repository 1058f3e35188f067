//! The performance model: predicted prefill, decode and KV-transfer times, and their fitting.

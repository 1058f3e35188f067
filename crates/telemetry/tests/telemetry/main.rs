//! Metrics, logs and traces from outside.

mod exposition;
mod logging;
mod table;
mod trace;

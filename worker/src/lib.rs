//! The engine worker and the scheduler sidecar.

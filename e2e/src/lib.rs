//! What tests of the whole share: a real Kubernetes, looked at through its API.

pub mod cluster;

//! Runs AMPDServices on Kubernetes.

fn main() {}

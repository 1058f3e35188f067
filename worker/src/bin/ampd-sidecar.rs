//! Starts `ampd-sidecar`.

fn main() {}

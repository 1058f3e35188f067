//! Starts `ampd-worker`.

fn main() {}

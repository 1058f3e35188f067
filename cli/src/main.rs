//! Starts `ampd`.

fn main() {}

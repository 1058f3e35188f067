//! Fetching from a stand-in for Hugging Face.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

mod disk;
mod faults;
mod support;
mod whole;

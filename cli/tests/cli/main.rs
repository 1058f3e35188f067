//! The command as a user runs it.

mod check;
mod evaluate;
mod fetch;
mod local;
mod plan;
mod profile;

//! The OpenAI API without its sockets: what is taken, what is refused and how it is told, and what answers look like.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper's failure is the test's")]

mod answers;
mod default_model;
mod logprobs;
mod properties;
mod refusals;
mod requests;
mod support;

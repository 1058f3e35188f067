//! The whole as local processes, with a real model and real clients.

mod bad_input;
mod bad_peers;
mod bad_start;
mod conversations;
mod disaggregated;
mod faults;
mod first_start;
mod moves;
mod prometheus;
mod replay;
mod rules;
mod stopping;

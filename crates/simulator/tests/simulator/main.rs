//! The simulator from outside: against theory, under faults, with bad input.

mod bad_input;
mod common;
mod conserves;
mod evaluate;
mod followed;
mod mutations;
mod policies;
mod queues;
mod types;

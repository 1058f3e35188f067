//! The engine from outside: rounds, sessions, KV that moves, faults.

mod common;
mod faults;
mod moves;
mod pace;
mod queue;
mod random;
mod reference;
mod remote;
mod rounds;
mod sampling;

//! The scheduler beside each decode worker: the service's OpenAI API, sessions with their homes and bindings, and the
//! decision where each prefill runs.

mod args;
mod auth;
mod bound;
mod choice;
mod clients;
mod clock;
mod config;
mod encode;
mod entry;
mod epochs;
mod error;
mod front;
mod headers;
mod health;
mod home;
mod inflight;
mod internal;
mod lines;
mod load;
mod lru;
mod main;
mod members;
mod model;
mod naming;
mod own;
mod peer;
mod poll;
mod record;
mod refusal;
mod resolve;
mod respond;
mod rounds;
mod route;
mod run;
mod served;
mod signals;
mod signals_prometheus;
mod state;
mod suspicion;
mod watch;
mod wire;

pub use args::{Args, OnRemoteFailure, Policy, SignalSource};
pub use error::StartError;
pub use main::main;
pub use run::{Running, start};

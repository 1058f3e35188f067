//! The operator against an API server that can fail.

mod children;
mod common;
mod faults;
mod generated;
mod health;
mod rights;

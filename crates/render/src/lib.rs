//! From an `AMPDService` to what runs it: the objects of a cluster, and the command lines in them.
//!
//! [`children`] is the operator's build step, and `ampd render` prints what it gives. [`arguments`] has the command lines
//! alone, which `ampd local` runs as processes. Everything here is a function of its arguments: what a service becomes is
//! decided once.

mod access;
pub mod arguments;
mod budget;
mod children;
mod container;
mod deployment;
mod disruption;
mod input;
pub mod labels;
mod metadata;
mod model;
mod monitoring;
pub mod names;
mod network;
mod pod;
pub mod ports;
mod probes;
mod revision;
mod role;
mod rules;
mod services;
mod sidecar;
mod volumes;
mod worker;

/// The name that all certificates of a service carry, whoever has them: members prove what they are, not where.
pub const SERVER_NAME: &str = "ampd.internal";

pub use budget::{BudgetExceeded, Surge, surge, wanted_gpus};
pub use children::{Children, children};
pub use input::{Facts, Input, Settings};
pub use revision::revision;
pub use role::Role;

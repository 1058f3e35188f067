//! Workloads: sessions drawn from statistics, arriving at a rate.

mod arrivals;
mod draw;
mod generate;
mod paper;
mod source;

pub use arrivals::Arrivals;
pub use draw::{Draw, Shape};
pub use generate::{Workload, WorkloadError};
pub use source::Source;

//! Workloads: sessions drawn from statistics, arriving at a rate.

mod arrivals;
mod draw;
mod generate;
mod paper;

pub use arrivals::Arrivals;
pub use draw::{Draw, Shape};
pub use generate::{Workload, WorkloadError};

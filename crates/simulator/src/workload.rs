//! Workloads: sessions drawn from statistics, arriving at a rate.

mod arrivals;
mod demand;
mod draw;
mod generate;
mod paper;
mod source;

pub use arrivals::Arrivals;
pub use demand::Demand;
pub use draw::{Draw, Shape};
pub use generate::{Workload, WorkloadError};
pub use source::Source;

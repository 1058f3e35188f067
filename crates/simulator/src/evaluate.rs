//! Evaluation: cells of model, workload and rate, run under policies; what comes out are rows of numbers.

mod cards;
mod cell;
mod error;
mod goodput;
mod site;
mod sweep;

pub use cards::{CARDS, Card};
pub use cell::{Cell, Split};
pub use error::EvaluateError;
pub use goodput::{Best, Search, best_split, goodput};
pub use site::{Row, Site};
pub use sweep::{Interval, Sweep};

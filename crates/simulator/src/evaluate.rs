//! Evaluation: cells of model, workload and rate, run under policies; what comes out are rows of numbers.

mod cards;
mod cell;
mod goodput;
mod sweep;

pub use cards::{CARDS, Card};
pub use cell::{Cell, EvaluateError, Row, Site, Split};
pub use goodput::{Best, Search, best_split, goodput};
pub use sweep::{Interval, Sweep};

//! Evaluation: cells of model and workload, run under policies at rates; what comes out are tables of numbers.
//!
//! [`Tuning::of`] finds each setting's best split in a cell, [`one_for_all`] each policy's one setting for all cells, and
//! [`measure`] what they then give on other seeds. [`goals`] compares that with what was to be reached.

mod ablation;
mod bound;
mod cards;
mod cell;
mod claim;
mod distribution;
mod error;
mod goals;
mod interval;
mod measure;
mod plan;
mod recovery;
mod runs;
mod search;
mod setting;
mod site;
mod trial;
mod tune;

pub use ablation::Ablation;
pub use bound::Bound;
pub use cards::{CARDS, Card};
pub use cell::{Cell, Split};
pub use claim::Claim;
pub use distribution::Distribution;
pub use error::EvaluateError;
pub use goals::{Goal, Verdict, goals};
pub use interval::{Interval, mean_by_seed};
pub use measure::{CellResult, Chosen, Goodput, LoadRow, SplitKind, measure};
pub use plan::{PAPER_LOAD, Plan};
pub use runs::{Case, Runs};
pub use search::Search;
pub use setting::{Family, Setting};
pub use site::{Row, Site};
pub use trial::{Disturbance, Trial};
pub use tune::{Tuned, Tuning, one_for_all};

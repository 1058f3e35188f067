//! What a run gives: a record of every round, and what they add up to.

mod record;
mod summary;

pub use record::{Place, RoundRecord, Run};
pub use summary::{Span, Summary, quantile};

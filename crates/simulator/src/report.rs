//! What a run gives: a record of every round, and what they add up to.

mod record;
mod summary;

pub use record::{Place, RoundRecord, Run};
pub(crate) use summary::quantile;
pub use summary::{Span, Summary};

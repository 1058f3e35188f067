//! Replays traces of multi-round sessions against a live service and measures what its clients see.
//!
//! Load is open: sessions begin when the plan says so, however late the service is with those before them. Within a session a
//! round begins when the one before it has ended and its gap has passed, as an agent's does.

mod calibrate;
mod client;
mod plan;
mod record;
mod run;
mod session;
mod summary;
mod text;

pub use client::{Client, ClientError, RoundError, Target};
pub use plan::{Pacing, Plan, PlanError, PlannedRound, PlannedSession};
pub use record::{Failure, RoundRecord, write_csv};
pub use run::{Event, Run, run};
pub use summary::{Objectives, Quantiles, Summary, Tally};

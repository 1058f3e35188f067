//! The planner from outside: against every deployment simulated, with objectives that cannot be met, with bad input.

mod bad_input;
mod common;
mod oracle;
mod same;
mod verdicts;

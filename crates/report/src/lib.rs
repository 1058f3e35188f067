//! The results of an evaluation as a document, with plots, and as JSON; a plan as a plot.
//!
//! Pure: texts come out, whoever asks for them writes them somewhere. Equal results give equal texts.

mod document;
mod json;
mod plots;
mod results;

pub use document::{document, summary};
pub use json::json;
pub use plots::{Plot, PlotError, plan_plot, plots};
pub use results::Results;

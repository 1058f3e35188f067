//! Plots of results, as SVG.

mod ablation;
mod goodput;
mod lines;
mod panels;
mod plan;
mod style;

use std::fmt::Display;

use crate::Results;
pub use plan::plan_plot;

/// A plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// Its file's name.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The SVG.
    pub svg: String,
}

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot cannot be drawn: {0}")]
pub struct PlotError(String);

impl PlotError {
    fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

/// All plots; those of what was not run are left out.
///
/// # Errors
/// When one cannot be drawn.
pub fn plots(results: &Results) -> Result<Vec<Plot>, PlotError> {
    let mut plots = lines::plots(results)?;
    plots.insert(1, goodput::plot(results)?);
    plots.extend(ablation::plot(results)?);
    Ok(plots)
}

//! What the parts of our policy are worth, as bars.

use ampd_simulator::evaluate::Family;
use plotters::prelude::{
    BLACK, IntoDrawingArea as _, IntoTextStyle as _, PathElement, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::Color as _;

use super::{Plot, PlotError, style};
use crate::Results;
use crate::document::ablation_means;

/// Width of the names and of a bar that is full, height of a bar, pixels.
const NAMES: i32 = 260;
const FULL: f64 = 440.0;
const HEIGHT: i32 = 20;

/// The plot; none where no ablation was run.
pub(super) fn plot(results: &Results) -> Result<Option<Plot>, PlotError> {
    let means = ablation_means(results);
    let Some(whole) = means.first().map(|(_, mean)| *mean) else { return Ok(None) };
    let mut svg = String::new();
    {
        let size = (NAMES as u32 + FULL as u32 + 60, (means.len() as i32 * HEIGHT + 10) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(PlotError::of)?;
        let font = || ("sans-serif", 12).into_text_style(&root).color(&BLACK);
        for (row, (what, mean)) in means.iter().enumerate() {
            let top = 5 + row as i32 * HEIGHT;
            root.draw(&Text::new(what.clone(), (6, top + 3), font())).map_err(PlotError::of)?;
            let right = NAMES + (mean * FULL) as i32;
            let bar = Rectangle::new(
                [(NAMES, top + 2), (right, top + HEIGHT - 4)],
                style::color(Family::Ampd).filled(),
            );
            root.draw(&bar).map_err(PlotError::of)?;
            root.draw(&Text::new(format!("{mean:.3}"), (right + 6, top + 3), font()))
                .map_err(PlotError::of)?;
        }
        let at = NAMES + (whole * FULL) as i32;
        let line = PathElement::new([(at, 0), (at, means.len() as i32 * HEIGHT + 10)], BLACK);
        root.draw(&line).map_err(PlotError::of)?;
        root.present().map_err(PlotError::of)?;
    }
    let title = "Ablations: attainment near capacity, mean over the cells";
    Ok(Some(Plot { name: "ablations.svg", title, svg }))
}

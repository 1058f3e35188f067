//! A sheet of panels, one a cell, with one legend for all.

use ampd_simulator::evaluate::{CellResult, Family};
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, DrawingArea, IntoDrawingArea as _, IntoTextStyle as _, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::Color as _;

use super::{PlotError, style};

/// Where a panel is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Size of a panel, and of the strip with the legend.
const PANEL: (u32, u32) = (300, 220);
const LEGEND: u32 = 30;
const ACROSS: u32 = 4;

/// A sheet with a panel for each cell, drawn by `panel`, above a legend of the policies.
pub(super) fn sheet(
    cells: &[CellResult],
    policies: &[Family],
    panel: impl Fn(&CellResult, &Area<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let across = ACROSS.min(cells.len().max(1) as u32);
    let down = (cells.len() as u32).div_ceil(across).max(1);
    let mut svg = String::new();
    {
        // A single panel still needs room for the legend.
        let width = (across * PANEL.0).max(policies.len() as u32 * 120);
        let root = SVGBackend::with_string(&mut svg, (width, down * PANEL.1 + LEGEND)).into_drawing_area();
        root.fill(&WHITE).map_err(PlotError::of)?;
        let (sheet, legend) = root.split_vertically(down * PANEL.1);
        for (cell, area) in cells.iter().zip(sheet.split_evenly((down as usize, across as usize))) {
            panel(cell, &area)?;
        }
        let every = (width / policies.len().max(1) as u32) as i32;
        for (index, &policy) in policies.iter().enumerate() {
            let x = 10 + index as i32 * every;
            let mark = Rectangle::new([(x, 10), (x + 14, 18)], style::color(policy).filled());
            legend.draw(&mark).map_err(PlotError::of)?;
            let font = ("sans-serif", 12).into_text_style(&legend).color(&BLACK);
            legend.draw(&Text::new(policy.name(), (x + 18, 8), font)).map_err(PlotError::of)?;
        }
        root.present().map_err(PlotError::of)?;
    }
    Ok(svg)
}

/// What a panel is headed with.
pub(super) fn caption(cell: &CellResult) -> String {
    let model = cell.model.split('/').next().unwrap_or(cell.model);
    format!("{model}, {}", cell.workload)
}

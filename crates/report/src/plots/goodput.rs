//! Goodputs as bars.

use ampd_simulator::evaluate::{CellResult, Chosen, Family, Goodput};
use plotters::prelude::{BLACK, ChartBuilder, PathElement, Rectangle};
use plotters::style::{Color as _, RGBColor};

use super::lines::policies;
use super::panels::{Area, caption, sheet};
use super::{Plot, PlotError, style};
use crate::Results;

/// The plot of goodputs, as shares of each cell's bound.
pub(super) fn plot(results: &Results) -> Result<Plot, PlotError> {
    let policies = policies(results);
    let svg = sheet(&results.cells, &policies, |cell, area| panel(cell, area, &policies))?;
    let title = "Goodput at 90 % attainment, each policy tuned for the cell and at its own best split";
    Ok(Plot { name: "goodput.svg", title, svg })
}

fn panel(cell: &CellResult, area: &Area<'_>, policies: &[Family]) -> Result<(), PlotError> {
    let goodputs: Vec<(f64, &Goodput)> = policies
        .iter()
        .enumerate()
        .filter_map(|(place, policy)| Some((place as f64, cell.goodput(*policy, Chosen::Tuned)?)))
        .collect();
    let most = goodputs.iter().map(|(_, goodput)| goodput.rate.mean / cell.bound.rate).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(caption(cell), ("sans-serif", 13))
        .margin(6)
        .x_label_area_size(12)
        .y_label_area_size(38)
        .build_cartesian_2d(-0.2..policies.len() as f64, 0.0..most * 1.1)
        .map_err(PlotError::of)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(RGBColor(245, 245, 245))
        .x_labels(0)
        .y_labels(6)
        .y_desc("goodput, share of the bound")
        .label_style(("sans-serif", 10))
        .draw()
        .map_err(PlotError::of)?;
    let bars = goodputs.iter().map(|(place, goodput)| {
        let height = goodput.rate.mean / cell.bound.rate;
        Rectangle::new([(*place, 0.0), (place + 0.8, height)], style::color(goodput.policy).filled())
    });
    chart.draw_series(bars).map_err(PlotError::of)?;
    let whiskers = goodputs.iter().filter(|(_, goodput)| goodput.rate.half_width.is_finite());
    let whiskers = whiskers.map(|(place, goodput)| {
        let (middle, half) = (goodput.rate.mean / cell.bound.rate, goodput.rate.half_width / cell.bound.rate);
        PathElement::new([(place + 0.4, (middle - half).max(0.0)), (place + 0.4, middle + half)], BLACK)
    });
    chart.draw_series(whiskers).map_err(PlotError::of)?;
    Ok(())
}

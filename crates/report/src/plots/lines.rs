//! Lines by load, and distributions.

use ampd_simulator::evaluate::{CellResult, Family, LoadRow, SplitKind};
use plotters::prelude::{ChartBuilder, LineSeries};
use plotters::style::{Color as _, RGBColor};

use super::panels::{Area, caption, sheet};
use super::{Plot, PlotError, style};
use crate::Results;

/// A line of a policy.
struct Line {
    policy: Family,
    points: Vec<(f64, f64)>,
}

/// What a panel's axes are.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
    x_says: &'static str,
    y_says: &'static str,
}

fn panel(area: &Area<'_>, caption: &str, axes: &Axes, lines: Vec<Line>) -> Result<(), PlotError> {
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 13))
        .margin(6)
        .x_label_area_size(30)
        .y_label_area_size(38)
        .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)
        .map_err(PlotError::of)?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(245, 245, 245))
        .bold_line_style(RGBColor(225, 225, 225))
        .x_labels(6)
        .y_labels(6)
        .x_desc(axes.x_says)
        .y_desc(axes.y_says)
        .label_style(("sans-serif", 10))
        .draw()
        .map_err(PlotError::of)?;
    // Ours are drawn last, over the others.
    for line in lines.into_iter().rev() {
        let stroke = style::color(line.policy).stroke_width(style::width(line.policy));
        chart.draw_series(LineSeries::new(line.points, stroke)).map_err(PlotError::of)?;
    }
    Ok(())
}

/// The policies that a cell has rows of, in the order of tables.
pub(super) fn policies(results: &Results) -> Vec<Family> {
    let has =
        |policy: &Family| results.cells.iter().any(|cell| cell.rows.iter().any(|row| row.policy == *policy));
    Family::ALL.into_iter().filter(has).collect()
}

fn by_load(cell: &CellResult, policies: &[Family], kind: SplitKind, value: fn(&LoadRow) -> f64) -> Vec<Line> {
    let line = |&policy: &Family| Line {
        policy,
        points: cell
            .rows
            .iter()
            .filter(|row| row.policy == policy && row.kind == kind)
            .map(|row| (row.load, value(row)))
            .collect(),
    };
    policies.iter().map(line).collect()
}

/// The plots of rows and distributions.
pub(super) fn plots(results: &Results) -> Result<Vec<Plot>, PlotError> {
    let policies = policies(results);
    let span = |values: &[f64]| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        (least, values.iter().copied().fold(least, f64::max))
    };
    let loads = span(&results.loads);
    let mut plots = Vec::new();
    for (name, title, kind, y_says, value) in [
        (
            "attainment.svg",
            "Attainment against load, each policy at its own best split",
            SplitKind::Own,
            "rounds within objectives",
            (|row: &LoadRow| row.attainment.mean) as fn(&LoadRow) -> f64,
        ),
        (
            "attainment-common-split.svg",
            "Attainment against load, all policies at the same split",
            SplitKind::Common,
            "rounds within objectives",
            |row| row.attainment.mean,
        ),
        (
            "local-share.svg",
            "Share of prefills that run on decode workers, at the same split",
            SplitKind::Common,
            "local prefills",
            |row| row.mean.local_share,
        ),
    ] {
        let axes = Axes { x: loads, y: (0.0, 1.0), x_says: "load, share of the bound", y_says };
        let svg = sheet(&results.cells, &policies, |cell, area| {
            panel(area, &caption(cell), &axes, by_load(cell, &policies, kind, value))
        })?;
        plots.push(Plot { name, title, svg });
    }
    plots.extend(distributions(results, &policies)?);
    Ok(plots)
}

fn distributions(results: &Results, policies: &[Family]) -> Result<Vec<Plot>, PlotError> {
    if results.cells.iter().all(|cell| cell.distributions.is_empty()) {
        return Ok(Vec::new());
    }
    let mut plots = Vec::new();
    for (name, title, x_says, ttft) in [
        ("ttft.svg", "Distribution of TTFT at a load of 0.9", "TTFT, objectives", true),
        ("itl.svg", "Distribution of the rounds' mean ITL at a load of 0.9", "ITL, objectives", false),
    ] {
        let axes = Axes { x: (0.0, 2.0), y: (0.0, 1.0), x_says, y_says: "share of rounds" };
        let svg = sheet(&results.cells, policies, |cell, area| {
            let line = |distribution: &ampd_simulator::evaluate::Distribution| {
                let values = if ttft { &distribution.ttft } else { &distribution.itl };
                let last = values.len().saturating_sub(1).max(1) as f64;
                let points = values.iter().enumerate().map(|(step, value)| (*value, step as f64 / last));
                // What is beyond the panel would be drawn beside it.
                let points = points.filter(|(value, _)| *value <= axes.x.1).collect();
                Line { policy: distribution.policy, points }
            };
            panel(area, &caption(cell), &axes, cell.distributions.iter().map(line).collect())
        })?;
        plots.push(Plot { name, title, svg });
    }
    Ok(plots)
}

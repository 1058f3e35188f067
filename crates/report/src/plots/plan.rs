//! A plan among the deployments that it was compared with.

use ampd_planner::{Deployment, Plan, Prediction};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, EmptyElement, IntoDrawingArea as _, IntoTextStyle as _, LineSeries,
    SVGBackend, Text, WHITE,
};
use plotters::style::{Color as _, RGBColor};

use super::PlotError;

/// Width and height.
const SIZE: (u32, u32) = (760, 420);
const CHOSEN: RGBColor = RGBColor(213, 94, 0);
const SPLIT: RGBColor = RGBColor(0, 114, 178);
const AGGREGATED: RGBColor = RGBColor(140, 140, 140);

/// Attainment against accelerators as SVG: the plan, its alternatives, and the target as a line. Each point is labelled
/// with its prefill and decode workers.
///
/// # Errors
/// When it cannot be drawn.
pub fn plan_plot(plan: &Plan) -> Result<String, PlotError> {
    let points: Vec<(f64, f64)> = deployments(plan).map(|(of, by)| place(of, by)).collect();
    let least = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point.0).fold(0.0, f64::max);
    let margin = (0.12 * (most - least)).max(1.0);
    let across = (least - margin).max(0.0)..most + margin;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(PlotError::of)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(
                "Share of rounds within their objectives (orange: the plan, grey: aggregated)",
                ("sans-serif", 14),
            )
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(44)
            .build_cartesian_2d(across.clone(), 0.0..1.06)
            .map_err(PlotError::of)?;
        chart
            .configure_mesh()
            .light_line_style(RGBColor(245, 245, 245))
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc("accelerators")
            .y_desc("attainment")
            .label_style(("sans-serif", 11))
            .draw()
            .map_err(PlotError::of)?;
        let target = [(across.start, plan.target), (across.end, plan.target)];
        chart.draw_series(LineSeries::new(target, BLACK.stroke_width(1))).map_err(PlotError::of)?;
        let font = ("sans-serif", 10).into_text_style(&root).color(&BLACK);
        let marks = deployments(plan).enumerate().map(|(index, (deployment, predicted))| {
            let color = match (index, deployment.is_aggregated()) {
                (0, _) => CHOSEN,
                (_, true) => AGGREGATED,
                (_, false) => SPLIT,
            };
            EmptyElement::at(place(deployment, predicted))
                + Circle::new((0, 0), if index == 0 { 6 } else { 4 }, color.filled())
                + Text::new(label(deployment), (7, -4), font.clone())
        });
        chart.draw_series(marks).map_err(PlotError::of)?;
        root.present().map_err(PlotError::of)?;
    }
    Ok(svg)
}

/// The plan's own first.
fn deployments(plan: &Plan) -> impl Iterator<Item = (&Deployment, &Prediction)> {
    let others = plan.alternatives.iter().map(|other| (&other.deployment, &other.predicted));
    std::iter::once((&plan.deployment, &plan.predicted)).chain(others)
}

fn place(deployment: &Deployment, predicted: &Prediction) -> (f64, f64) {
    (deployment.gpus() as f64, predicted.attainment.mean)
}

fn label(deployment: &Deployment) -> String {
    let Deployment { prefill, decode } = deployment;
    if deployment.is_aggregated() {
        return format!("{} x {}", decode.replicas, decode.degree);
    }
    format!("{} x {} + {} x {}", prefill.replicas, prefill.degree, decode.replicas, decode.degree)
}

//! How policies look, the same in all plots.

use ampd_simulator::evaluate::Family;
use plotters::style::RGBColor;

/// The colour of a policy. Ours stand out; the palette of the others can be told apart by most people with a weak sense of
/// colour (Okabe and Ito).
pub(super) fn color(policy: Family) -> RGBColor {
    match policy {
        Family::Ampd => RGBColor(213, 94, 0),
        Family::AmpdOpen => RGBColor(240, 170, 110),
        Family::AlwaysRemote => RGBColor(0, 114, 178),
        Family::AlwaysLocal => RGBColor(86, 180, 233),
        Family::Paper => RGBColor(0, 158, 115),
        Family::DynamoConditional => RGBColor(204, 121, 167),
        Family::LlmdPrefix => RGBColor(120, 94, 240),
        Family::Ppd => RGBColor(150, 150, 40),
        Family::SessionAffinity => RGBColor(140, 140, 140),
    }
}

/// How thick its line is.
pub(super) fn width(policy: Family) -> u32 {
    if policy.is_rival() { 1 } else { 2 }
}

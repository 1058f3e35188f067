//! What the parts of our policy are worth: each is taken away, near capacity.

use std::sync::Arc;

use ampd_scheduler::{Ampd, Binding, MissCurve, Order, Overload};
use serde::Serialize;

use super::measure::{CellResult, Chosen};
use super::trial::old_signals;
use super::{Case, Cell, EvaluateError, Family, Interval, Plan, Runs};
use crate::cluster::{Pacing, Policies};

/// Our policy with something changed, at its own best split and the rate of its own goodput.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ablation {
    /// What was changed.
    pub what: String,
    /// Share of rounds that met their objectives, by seed.
    pub by_seed: Vec<f64>,
    /// Their mean.
    pub attainment: Interval,
}

/// Errors of the profile that are looked at, as factors of all its times.
const PROFILES: [f64; 4] = [0.5, 0.75, 1.25, 1.5];

/// Runs the ablations of a cell.
pub(super) fn ablations(
    plan: &Plan,
    runs: &mut Runs<'_>,
    result: &CellResult,
) -> Result<Vec<Ablation>, EvaluateError> {
    let Some(ours) = result.goodput(Family::Ampd, Chosen::Tuned) else { return Ok(Vec::new()) };
    let (split, rate) = (ours.split, ours.rate.mean);
    if rate <= 0.0 {
        return Ok(Vec::new());
    }
    let attained = |runs: &mut Runs<'_>, what: &str, policies: &Policies| {
        let case = Case::plain(policies, split);
        let by_seed: Vec<f64> = plan
            .few_seeds()
            .iter()
            .map(|&seed| Ok(runs.summary(&case, rate, seed)?.attainment))
            .collect::<Result<_, EvaluateError>>()?;
        Ok::<_, EvaluateError>(Ablation { what: what.into(), attainment: Interval::of(&by_seed), by_seed })
    };
    let mut ablations = Vec::new();
    for (what, policies) in variants() {
        ablations.push(attained(runs, what, &policies)?);
    }
    let ampd = Policies::ampd();
    for age_s in [0.3, 1.0, 3.0, 10.0] {
        ablations.push(attained(
            runs,
            &format!("signals every {age_s} s, no probes"),
            &old_signals(&ampd, age_s),
        )?);
    }
    for profile_scale in PROFILES {
        let site = Cell { profile_scale, ..runs.site.cell.clone() }.site()?;
        let what = format!("profile times {profile_scale}");
        ablations.push(attained(&mut runs.elsewhere(&site), &what, &ampd)?);
    }
    Ok(ablations)
}

/// Our policy as it is, and with each of its parts taken away.
fn variants() -> Vec<(&'static str, Policies)> {
    let ours = Policies::ampd();
    let careless = Ampd { itl: MissCurve { centre: 1e9, width: 1.0 }, price: 0.0, ..Ampd::default() };
    let with = |what: &'static str, change: &dyn Fn(&mut Policies)| {
        let mut policies = ours.clone();
        change(&mut policies);
        policies.name = format!("ampd: {what}");
        (what, policies)
    };
    vec![
        ("as it is", ours.clone()),
        with("every session let in", &|p| p.overload = Overload::Off),
        with("no regard to the ITL of others", &|p| p.routing = Arc::new(careless)),
        with("queues by arrival", &|p| (p.order, p.local_order) = (Order::Arrival, Order::Arrival)),
        with("queues by the paper's reordering", &|p| {
            (p.order, p.local_order) = (Order::PAPER, Order::PAPER);
        }),
        with("chunks of 512", &|p| p.pacing = Pacing::CHUNKED),
        with("no calibration", &|p| p.signals.calibration = false),
        with("no own dispatches", &|p| p.signals.accounting = false),
        with("no probes", &|p| p.signals.probes = 0),
        with("neither probes nor own dispatches", &|p| {
            (p.signals.probes, p.signals.accounting) = (0, false);
        }),
        with("sessions stay where they are bound", &|p| p.moving = false),
        with("bound by free memory", &|p| p.binding = Binding::FreeMemory),
        with("nothing cached by prefill workers", &|p| p.prefill_cache = false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_differs_from_what_it_is_a_variant_of() {
        let variants = variants();
        let (_, ours) = &variants[0];
        let text =
            |policies: &Policies| format!("{:?}", Policies { name: String::new(), ..policies.clone() });
        for (what, policies) in &variants[1..] {
            // What routing weighs does not show in the text.
            let differs = text(policies) != text(ours) || !Arc::ptr_eq(&policies.routing, &ours.routing);
            assert!(differs, "{what}");
        }
    }
}

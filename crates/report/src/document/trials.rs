//! Disturbances.

use ampd_simulator::evaluate::{CellResult, Chosen, Disturbance, Family, Trial};

use super::table::{mean, or_dash, table};
use crate::Results;

pub(super) fn text(results: &Results) -> String {
    let whats = whats(results);
    if whats.is_empty() {
        return String::new();
    }
    let head = ["disturbance", "ampd", "worst cell", "ampd_open", "best tuned rival", "worst cell"];
    let rows: Vec<Vec<String>> = whats
        .iter()
        .map(|what| {
            let (ours, rival) = (by_cell(results, what, Some(Family::Ampd)), by_cell(results, what, None));
            let open = by_cell(results, what, Some(Family::AmpdOpen));
            let digits = if *what == Disturbance::Recovery { 0 } else { 2 };
            vec![
                what.to_string(),
                or_dash(mean(ours.iter().copied()), digits),
                or_dash(worst(what, &ours), digits),
                or_dash(mean(open), digits),
                or_dash(mean(rival.iter().copied()), digits),
                or_dash(worst(what, &rival), digits),
            ]
        })
        .collect();
    format!(
        "## Disturbances\n\n\
         Means over the cells. Overload: attainment at so many times the goodput of `ampd` (the ideal is 0.72 and 0.56); recovery: \
         seconds after a minute at 1.6 times that until nine tenths of the rounds of the next 10 s meet their objectives, at most \
         200. All others: goodput as a share of the policy's own without the disturbance. With one of eight workers at half speed \
         there is a sixteenth less to compute with; where a single worker decodes, it is half of that side.\n\n{}",
        table(&head.map(str::to_owned), &rows)
    )
}

/// All disturbances, in the order in which they were run.
fn whats(results: &Results) -> Vec<Disturbance> {
    let mut whats: Vec<Disturbance> = Vec::new();
    for trial in results.cells.iter().flat_map(|cell| &cell.trials) {
        if !whats.contains(&trial.what) {
            whats.push(trial.what);
        }
    }
    whats
}

/// A policy's value in each cell, or the best rival's; goodputs as shares of the undisturbed.
fn by_cell(results: &Results, what: &Disturbance, policy: Option<Family>) -> Vec<f64> {
    let wanted = |trial: &&Trial| {
        trial.what == *what && policy.map_or(trial.policy.is_rival(), |policy| trial.policy == policy)
    };
    let value = |cell: &CellResult| {
        let trial = cell.trials.iter().find(wanted)?;
        let whole = match what {
            Disturbance::Overload(_) | Disturbance::Recovery => return Some(trial.value.mean),
            _ => cell.goodput(trial.policy, Chosen::Tuned)?,
        };
        // The undisturbed of the same seeds.
        let count = trial.by_seed.len();
        let whole = mean(whole.by_seed.iter().copied().take(count))?;
        (whole > 0.0).then(|| trial.value.mean / whole)
    };
    results.cells.iter().filter_map(value).collect()
}

fn worst(what: &Disturbance, values: &[f64]) -> Option<f64> {
    let most = *what == Disturbance::Recovery;
    values.iter().copied().reduce(if most { f64::max } else { f64::min })
}

//! What the parts of our policy are worth, and what the paper claims.

use ampd_simulator::evaluate::{CellResult, Claim};

use super::table::{mean, or_dash, table};
use crate::Results;

pub(super) fn text(results: &Results) -> String {
    let ablations = ablation_means(results);
    if ablations.is_empty() {
        return String::new();
    }
    let worst = |what: &str| {
        let of = |cell: &CellResult| {
            let found = |name: &str| cell.ablations.iter().find(|ablation| ablation.what == name);
            let whole = cell.ablations.first()?;
            Some(found(what)?.attainment.mean - whole.attainment.mean)
        };
        results.cells.iter().filter_map(of).reduce(f64::min)
    };
    let rows: Vec<Vec<String>> = ablations
        .iter()
        .map(|(what, mean)| vec![what.clone(), format!("{mean:.3}"), or_dash(worst(what), 3)])
        .collect();
    let head = ["`ampd`", "attainment", "most lost in a cell"].map(str::to_owned);
    format!(
        "## What the parts are worth\n\n\
         Attainment at the rate of `ampd`'s own goodput and its own best split, means over the cells.\n\n{}\n\n\
         ## The paper's claims\n\n\
         The published rule, bound by free memory and with its reordering, beside itself with every prefill remote, and with \
         queues served by arrival. Gains are of attainment, per cell; the paper reports +27 to +350 % for routing, +13 to +15 % \
         for reordering, and 13.9 to 31.7 % of prefills local. Cells where the lesser attains under 0.01 have no ratio and are \
         left out of the gains; the columns say of how many cells they are.\n\n{}",
        table(&head, &rows),
        claims(results)
    )
}

/// The ablations in their order, with the means over the cells.
pub(crate) fn ablation_means(results: &Results) -> Vec<(String, f64)> {
    let Some(first) = results.cells.first() else { return Vec::new() };
    let of = |what: &str| {
        let ablations = results.cells.iter().flat_map(|cell| &cell.ablations);
        mean(ablations.filter(|ablation| ablation.what == what).map(|ablation| ablation.attainment.mean))
    };
    first.ablations.iter().filter_map(|ablation| Some((ablation.what.clone(), of(&ablation.what)?))).collect()
}

fn claims(results: &Results) -> String {
    let mut conditions: Vec<(i32, f64)> = Vec::new();
    for claim in results.cells.iter().flat_map(|cell| &cell.claims) {
        if !conditions.contains(&(claim.off, claim.load)) {
            conditions.push((claim.off, claim.load));
        }
    }
    let range = |values: &[f64], digits: usize| {
        let least = values.iter().copied().reduce(f64::min);
        let most = values.iter().copied().reduce(f64::max);
        format!("{} to {}", or_dash(least, digits), or_dash(most, digits))
    };
    let rows: Vec<Vec<String>> = conditions
        .iter()
        .map(|&(off, load)| {
            let claims = || {
                let all = results.cells.iter().flat_map(|cell| &cell.claims);
                all.filter(move |claim| claim.off == off && claim.load == load)
            };
            let gains = |other: fn(&Claim) -> f64| -> Vec<f64> {
                let known = claims().filter(|claim| other(claim) >= 0.01);
                known.map(|claim| 100.0 * (claim.paper.mean / other(claim) - 1.0)).collect()
            };
            let routing = gains(|claim| claim.without_routing.mean);
            let reordering = gains(|claim| claim.without_reordering.mean);
            let local: Vec<f64> = claims().map(|claim| 100.0 * claim.local_share).collect();
            vec![
                if off == 0 { "common".to_owned() } else { format!("{off:+} prefill workers") },
                load.to_string(),
                or_dash(mean(claims().map(|claim| claim.paper.mean)), 3),
                or_dash(mean(claims().map(|claim| claim.without_routing.mean)), 3),
                or_dash(mean(claims().map(|claim| claim.without_reordering.mean)), 3),
                format!("{} ({})", range(&routing, 0), routing.len()),
                format!("{} ({})", range(&reordering, 0), reordering.len()),
                range(&local, 0),
            ]
        })
        .collect();
    let head =
        ["split", "load", "paper", "all remote", "by arrival", "routing +%", "reordering +%", "local %"];
    table(&head.map(str::to_owned), &rows)
}

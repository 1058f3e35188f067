//! Goodputs.

use ampd_simulator::evaluate::{CellResult, Chosen, Family, Goodput};

use super::table::{head, interval, mean, name, or_dash, policies, table};
use crate::Results;

pub(super) fn text(results: &Results) -> String {
    format!(
        "## Goodput\n\nSessions a second, each policy tuned for the cell and at its own best split.\n\n{}\n\n\
         As shares of the bound, with the split (prefill + decode workers):\n\n{}\n\n\
         The best setting of each policy for each cell:\n\n{}\n\n\
         One setting for all cells, each at its own best split: means of the shares of the bound.\n\n{}",
        tuned(results),
        shares(results),
        settings(results),
        one_for_all(results),
    )
}

/// Goodputs of the tuned policies.
pub(super) fn tuned(results: &Results) -> String {
    by_cell(results, |_, goodput| interval(&goodput.rate, if goodput.rate.mean < 2.0 { 3 } else { 2 }))
}

fn shares(results: &Results) -> String {
    by_cell(results, |cell, goodput| {
        let split = goodput.split;
        format!("{:.2} ({} + {})", goodput.rate.mean / cell.bound.rate, split.prefill, split.decode)
    })
}

fn by_cell(results: &Results, value: impl Fn(&CellResult, &Goodput) -> String) -> String {
    let policies = policies(results);
    let row = |cell: &CellResult| {
        let of = |policy: &Family| {
            cell.goodput(*policy, Chosen::Tuned)
                .map_or_else(|| "-".to_owned(), |goodput| value(cell, goodput))
        };
        std::iter::once(name(cell)).chain(policies.iter().map(of)).collect()
    };
    table(&head("cell", &policies), &results.cells.iter().map(row).collect::<Vec<_>>())
}

fn settings(results: &Results) -> String {
    let tuned = |cell: &CellResult| {
        let rivals = cell
            .goodputs
            .iter()
            .filter(|goodput| goodput.chosen == Chosen::Tuned && goodput.policy.is_rival());
        let names: Vec<String> =
            rivals.filter(|goodput| goodput.setting.contains(':')).map(|g| g.setting.clone()).collect();
        format!("- {}: {}", name(cell), names.join("; "))
    };
    results.cells.iter().map(tuned).collect::<Vec<_>>().join("\n")
}

fn one_for_all(results: &Results) -> String {
    let share = |policy: Family, chosen: Chosen| {
        // Of the seeds that all of them have.
        let of = |cell: &CellResult| {
            let rates = cell.goodput(policy, chosen)?.by_seed.iter().take(results.few);
            Some(mean(rates.copied())? / cell.bound.rate)
        };
        mean(results.cells.iter().filter_map(of))
    };
    let setting = |policy: Family, chosen: Chosen| {
        results
            .cells
            .first()
            .and_then(|cell| cell.goodput(policy, chosen))
            .map(|goodput| goodput.setting.clone())
    };
    let row = |policy: &Family| {
        vec![
            policy.name().to_owned(),
            or_dash(share(*policy, Chosen::Tuned), 3),
            or_dash(share(*policy, Chosen::OneForAll), 3),
            setting(*policy, Chosen::OneForAll).unwrap_or_default(),
            or_dash(share(*policy, Chosen::Shipped), 3),
            setting(*policy, Chosen::Shipped).unwrap_or_default(),
        ]
    };
    let head =
        ["policy", "tuned for each cell", "one for all", "which", "as shipped", "which"].map(str::to_owned);
    table(&head, &policies(results).iter().map(row).collect::<Vec<_>>())
}

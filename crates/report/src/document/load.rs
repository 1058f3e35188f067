//! Attainment against load.

use ampd_simulator::evaluate::{CellResult, Family, PAPER_LOAD, SplitKind};

use super::table::{head, interval, mean, name, or_dash, policies, table};
use crate::Results;

pub(super) fn text(results: &Results) -> String {
    format!(
        "## Attainment\n\nShare of rounds that meet their objectives at a load of {PAPER_LOAD}, about where plain disaggregation \
         is at its limit; each policy at its own best split:\n\n{}\n\nThe same at the common split:\n\n{}\n\n\
         Means over the cells by load, own best splits, then the common split:\n\n{}\n\n{}\n\n\
         Share of prefills that run on decode workers, by load, at the common split:\n\n{}",
        own(results),
        at(results, SplitKind::Common),
        means(results, SplitKind::Own, false),
        means(results, SplitKind::Common, false),
        means(results, SplitKind::Common, true),
    )
}

/// Attainment at each policy's own best split, at the load that comes nearest to the paper's.
pub(super) fn own(results: &Results) -> String {
    at(results, SplitKind::Own)
}

fn at(results: &Results, kind: SplitKind) -> String {
    let policies = policies(results);
    let row = |cell: &CellResult| {
        let value = |policy: &Family| {
            let rows = cell.rows.iter().filter(|row| row.policy == *policy && row.kind == kind);
            rows.filter(|row| row.load == PAPER_LOAD)
                .map(|row| interval(&row.attainment, 3))
                .next()
                .unwrap_or_else(|| "-".to_owned())
        };
        std::iter::once(name(cell)).chain(policies.iter().map(value)).collect()
    };
    table(&head("cell", &policies), &results.cells.iter().map(row).collect::<Vec<_>>())
}

fn means(results: &Results, kind: SplitKind, local: bool) -> String {
    let policies = policies(results);
    let row = |load: &f64| {
        let value = |policy: &Family| {
            let rows = results.cells.iter().flat_map(|cell| &cell.rows);
            let rows = rows.filter(|row| row.policy == *policy && row.kind == kind && row.load == *load);
            or_dash(mean(rows.map(|row| if local { row.mean.local_share } else { row.attainment.mean })), 3)
        };
        std::iter::once(load.to_string()).chain(policies.iter().map(value)).collect()
    };
    table(&head("load", &policies), &results.loads.iter().map(row).collect::<Vec<_>>())
}

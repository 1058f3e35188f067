//! What was to be reached, and what was.

use ampd_simulator::evaluate::{Goal, Verdict};

use super::table::{interval, table};
use crate::Results;

pub(super) fn text(results: &Results) -> String {
    if results.goals.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = results.goals.iter().map(row).collect();
    let head = ["goal", "target", "reached", "worst cell", "verdict"].map(str::to_owned);
    format!(
        "## Goals\n\n\
         Means over the cells with the interval over the seeds. The best tuned rival of a cell is the one that did best with the \
         seeds of the results, which favours the rivals. A ratio counts as 10 at most. *Within the interval* means that the mean \
         reaches the target and the worse end of the interval does not. Groups: (a) own best split, (b) one setting for all cells, \
         (c) split off, (d) overload, (e) uneven load, (f) what is known is old or wrong. [The design note on routing](design/0009-scored-routing.md) \
         says why goals are missed and what was tried.\n\n{}",
        table(&head, &rows)
    )
}

fn row(goal: &Goal) -> Vec<String> {
    let verdict = match goal.verdict {
        Verdict::Met => "met",
        Verdict::WithinInterval => "met, within the interval",
        Verdict::Missed => "missed",
    };
    vec![
        format!("({}) {}", goal.group, goal.what),
        format!("{} {}", if goal.at_least { "≥" } else { "≤" }, goal.target),
        interval(&goal.value, 3),
        format!("{:.3}, {}", goal.worst, goal.worst_cell),
        verdict.to_owned(),
    ]
}

//! Tables in Markdown.

use ampd_simulator::evaluate::{CellResult, Family, Interval};

use crate::Results;

/// A table; the first column is text, the others are numbers.
pub(super) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned());
    let mut lines = vec![line(head), line(&rule.collect::<Vec<_>>())];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

/// A head of a text and the policies' names.
pub(super) fn head(first: &str, policies: &[Family]) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(policies.iter().map(|policy| policy.name().to_owned())).collect()
}

/// The policies that there are results of.
pub(super) fn policies(results: &Results) -> Vec<Family> {
    let has = |policy: &Family| {
        results.cells.iter().any(|cell| cell.goodputs.iter().any(|goodput| goodput.policy == *policy))
    };
    Family::ALL.into_iter().filter(has).collect()
}

/// A cell's name.
pub(super) fn name(cell: &CellResult) -> String {
    format!("{}, {}", cell.model, cell.workload)
}

/// A mean with half its interval's width.
pub(super) fn interval(interval: &Interval, digits: usize) -> String {
    let Interval { mean, half_width } = *interval;
    if half_width.is_finite() {
        format!("{mean:.digits$} ± {half_width:.digits$}")
    } else {
        format!("{mean:.digits$}")
    }
}

/// The mean of some values; `None` without any.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// A value, or a dash.
pub(super) fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let text = table(&["a".into(), "b".into()], &[vec!["x".into(), "1".into()]]);
        assert_eq!(text, "| a | b |\n| --- | ---: |\n| x | 1 |");
        assert_eq!(interval(&Interval { mean: 1.25, half_width: f64::INFINITY }, 1), "1.2");
        assert_eq!(interval(&Interval { mean: 0.5, half_width: 0.125 }, 2), "0.50 ± 0.12");
        assert_eq!((mean([1.0, 2.0]), mean([]), or_dash(None, 2)), (Some(1.5), None, "-".into()));
    }
}

//! The table as a document.

use std::fmt::Write as _;

use super::{Metric, OTHER, Values, operator, process, sidecar, worker};

/// `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Every program serves its series at `/metrics` in Prometheus' text format. A worker serves the series that \
         routing reads, marked *load*, also at `/metrics/load`. This file is written from the table in \
         `crates/telemetry/src/table`.\n\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "A label lists its values; where they come from elsewhere, their number is bounded, and what is beyond counts \
         as `{OTHER}`."
    );
    section(
        &mut text,
        "Worker",
        "Constant labels: `ampd_service` (`namespace/name`), `role` (`prefill` or `decode`), `worker` (its name).",
        worker::TABLE,
    );
    section(
        &mut text,
        "Sidecar",
        "Constant labels: `ampd_service` (`namespace/name`), `sidecar` (the name of its decode worker).",
        sidecar::TABLE,
    );
    section(&mut text, "Operator", "No constant labels.", operator::TABLE);
    section(&mut text, "Process", "In all programs, with their constant labels.", process::TABLE);
    text
}

fn section(text: &mut String, title: &str, intro: &str, table: &[Metric]) {
    let _ = write!(
        text,
        "\n## {title}\n\n{intro}\n\n| Metric | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n"
    );
    for row in table {
        let load = if row.load { " *load*" } else { "" };
        let _ = writeln!(
            text,
            "| `{}`{load} | {} | {} | {} | {} |",
            row.name,
            row.kind.as_str(),
            row.unit,
            labels(row),
            row.help
        );
    }
}

fn labels(row: &Metric) -> String {
    let label = |label: &super::Label| match label.values {
        Values::Fixed(values) => format!("`{}`: {}", label.name, values.join(", ")),
        Values::UpTo(limit) => format!("`{}` (at most {limit} values)", label.name),
    };
    row.labels.iter().map(label).collect::<Vec<_>>().join("; ")
}

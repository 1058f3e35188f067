//! The table of processes, as text.

use super::child::ChildState;
use super::members::Kind;
use super::monitor::{Health, Report};
use super::readings::{Reading, SidecarReading, WorkerReading};

/// The state of a process that does not run.
pub(crate) const DOWN: &str = "down";
/// Longest state in the table, characters.
const MAX_STATE: usize = 36;
/// Reasons shown for one sidecar.
const MAX_REASONS: usize = 3;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The process.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Whether it lives.
    pub(crate) child: ChildState,
    /// How it is.
    pub(crate) report: Report,
}

/// Workers and sidecars, each line at most `width` characters.
pub(crate) fn render(rows: &[Row], width: usize) -> Vec<String> {
    let of = |kind: Kind| rows.iter().filter(move |row| row.kind == kind);
    let head = ["WORKER", "STATE", "DECODING", "PREFILLS", "SESSIONS", "KV IN USE", "TTFT", "ITL"]
        .map(str::to_owned);
    let mut lines = vec![head.to_vec()];
    lines.extend(of(Kind::Decode).chain(of(Kind::Prefill)).map(|row| {
        let reading = match row.report.reading {
            Some(Reading::Worker(reading)) => worker(row.kind, &reading),
            _ => vec!["-".to_owned(); head.len() - 2],
        };
        [row.name.clone(), short_state(row)].into_iter().chain(reading).collect()
    }));
    let mut text = align(&lines);
    text.push(String::new());
    let head = ["SIDECAR", "STATE", "ROUNDS", "FAILED", "SLO", "LOCAL", "REMOTE", "REASONS"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(of(Kind::Sidecar).map(|row| {
        let reading = match &row.report.reading {
            Some(Reading::Sidecar(reading)) => sidecar(reading),
            _ => vec!["-".to_owned(); head.len() - 2],
        };
        [row.name.clone(), short_state(row)].into_iter().chain(reading).collect()
    }));
    text.extend(align(&lines));
    text.into_iter().map(|line| line.chars().take(width).collect()).collect()
}

/// A process's state in a word or two.
pub(crate) fn state(row: &Row) -> String {
    let text = match (&row.report.health, row.child.pid) {
        (_, None) | (Health::Down, _) => DOWN.to_owned(),
        (Health::Ready, _) => "ready".to_owned(),
        (Health::Silent, _) => "starting".to_owned(),
        (Health::Hung, _) => "not answering".to_owned(),
        (Health::NotReady { phase, progress: Some(part) }, _) => {
            format!("{phase} {:.0}%", 100.0 * part.clamp(0.0, 1.0))
        }
        (Health::NotReady { phase, progress: None }, _) => phase.clone(),
    };
    match row.child.restarts {
        0 => text,
        restarts => format!("{text} (restarts: {restarts})"),
    }
}

/// The state, cut to what a column may take.
fn short_state(row: &Row) -> String {
    let text = state(row);
    match text.char_indices().nth(MAX_STATE) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None => text,
    }
}

fn worker(kind: Kind, reading: &WorkerReading) -> Vec<String> {
    // Prefill workers neither decode nor keep sessions.
    let of_decode = |count: f64| if kind == Kind::Decode { format!("{count:.0}") } else { "-".to_owned() };
    vec![
        of_decode(reading.decoding),
        format!("{:.0}", reading.prefills),
        of_decode(reading.sessions),
        percent(reading.kv_used),
        seconds(reading.ttft_s),
        seconds(reading.itl_s),
    ]
}

fn sidecar(reading: &SidecarReading) -> Vec<String> {
    let decisions = reading.local + reading.remote;
    let share = |part: f64, all: f64| if all > 0.0 { percent(part / all) } else { "-".to_owned() };
    let reasons: Vec<String> = reading
        .reasons
        .iter()
        .take(MAX_REASONS)
        .map(|(reason, count)| format!("{reason} {count:.0}"))
        .collect();
    vec![
        format!("{:.0}", reading.rounds),
        format!("{:.0}", reading.failed),
        share(reading.attained, reading.rounds),
        share(reading.local, decisions),
        share(reading.remote, decisions),
        reasons.join(", "),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 1.0 => format!("{:.0} ms", 1000.0 * value),
        Some(value) => format!("{value:.1} s"),
    }
}

/// Cells as columns two spaces apart.
fn align(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().filter_map(|l| l.get(column)).map(|cell| cell.chars().count()).max())
        .map(|widest| widest.unwrap_or(0))
        .collect();
    let join = |line: &Vec<String>| {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, kind: Kind, health: Health, restarts: u32, reading: Option<Reading>) -> Row {
        Row {
            name: name.into(),
            kind,
            child: ChildState { pid: Some(1), restarts },
            report: Report { health, reading },
        }
    }

    #[test]
    fn the_table_shows_workers_and_sidecars() {
        let load = WorkerReading {
            decoding: 3.0,
            prefills: 1.0,
            kv_used: 0.237,
            sessions: 8.0,
            ttft_s: Some(1.25),
            itl_s: Some(0.018),
        };
        let idle = WorkerReading {
            decoding: 0.0,
            prefills: 2.0,
            kv_used: 0.0,
            sessions: 0.0,
            ttft_s: None,
            itl_s: None,
        };
        let done = SidecarReading {
            rounds: 32.0,
            failed: 1.0,
            attained: 30.0,
            local: 8.0,
            remote: 24.0,
            reasons: vec![("remote: prefill_slack".into(), 24.0), ("local: decode_slack".into(), 8.0)],
        };
        let loading = Health::NotReady { phase: "loading".into(), progress: Some(0.4) };
        let mut down = row("prefill-1", Kind::Prefill, Health::Down, 2, None);
        down.child.pid = None;
        let rows = [
            row("decode-0", Kind::Decode, Health::Ready, 0, Some(Reading::Worker(load))),
            row("prefill-0", Kind::Prefill, loading, 0, Some(Reading::Worker(idle))),
            down,
            row("sidecar-0", Kind::Sidecar, Health::Ready, 0, Some(Reading::Sidecar(done))),
            row(
                "sidecar-1",
                Kind::Sidecar,
                Health::Hung,
                0,
                Some(Reading::Sidecar(SidecarReading::default())),
            ),
        ];
        insta::assert_snapshot!(render(&rows, 200).join("\n"));
        assert!(render(&rows, 40).iter().all(|line| line.chars().count() <= 40));
    }
}

//! What a replay gave, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ampd_loadgen::{Quantiles, Run, Summary, Tally};
use comfy_table::{Table, presets};

/// Cells of a full bar.
const WIDTH: usize = 40;
/// Kinds of refusals that are told.
const KINDS: usize = 5;

/// The share of rounds that met their objectives with its interval, times, and the share by round and path as bars.
pub(super) fn text(summary: &Summary, run: &Run) -> String {
    let (low, high) = summary.all.interval();
    let objectives = summary.objectives;
    let mut text = format!(
        "{} of {} rounds attained: {:.1} % (95 %: {:.1} to {:.1}), TTFT within {} and mean ITL within {}\n\
         {} of {} sessions attained in all their rounds; {} rounds failed\n\
         {:.2} attained rounds and {:.0} output tokens a second over {:.0} s\n\n",
        summary.all.attained,
        summary.all.rounds,
        percent(summary.all.attainment()),
        percent(low),
        percent(high),
        ms(objectives.ttft_s),
        ms(objectives.itl_s),
        summary.sessions_attained,
        summary.sessions,
        summary.all.failed,
        summary.goodput,
        summary.output_tokens_s,
        run.took.as_secs_f64(),
    );
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["", "p50", "p95", "p99"]);
    for (name, times) in [("TTFT", summary.ttft), ("mean ITL", summary.itl)] {
        let Quantiles { p50_s, p95_s, p99_s } = times;
        table.add_row([name.to_owned(), ms(p50_s), ms(p95_s), ms(p99_s)]);
    }
    let _ = writeln!(text, "{table}\n");
    let rounds = summary.by_round.iter().map(|(round, tally)| (format!("round {round}"), tally));
    let paths = summary.by_prefill.iter().map(|(path, tally)| (path.clone(), tally));
    for (name, tally) in rounds.chain(paths) {
        let _ = writeln!(text, "{}", bar(&name, tally));
    }
    text + &failures(run)
}

/// A share as a bar, so that a picture tells what numbers do.
fn bar(name: &str, tally: &Tally) -> String {
    let full = (tally.attainment() * WIDTH as f64).round() as usize;
    let cells: String = (0..WIDTH).map(|cell| if cell < full { '█' } else { '·' }).collect();
    format!("{name:<10} {cells} {:>5.1} % of {}", percent(tally.attainment()), tally.rounds)
}

/// The most frequent reasons for which rounds failed.
fn failures(run: &Run) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for words in run.rounds.iter().filter_map(|record| record.words.as_deref()) {
        *counts.entry(words).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(words, count)| (std::cmp::Reverse(*count), *words));
    let lines = counts.iter().take(KINDS).map(|(words, count)| format!("failed {count} times: {words}\n"));
    let text: String = lines.collect();
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn percent(share: f64) -> f64 {
    share * 100.0
}

fn ms(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ampd_loadgen::{Failure, Objectives, RoundRecord};

    use super::*;

    fn record(session: usize, round: usize, ttft_s: Option<f64>) -> RoundRecord {
        RoundRecord {
            session,
            round,
            sent_s: 0.0,
            ttft_s,
            itl_s: ttft_s.map(|_| 0.05),
            longest_gap_s: None,
            total_s: ttft_s,
            prompt_tokens: None,
            cached_tokens: None,
            output_tokens: ttft_s.map(|_| 10),
            prefill: ttft_s.map(|_| if round == 1 { "remote" } else { "local" }.to_owned()),
            reason: None,
            failure: ttft_s.is_none().then_some(Failure::Refused),
            words: ttft_s.is_none().then(|| "status 429: busy".to_owned()),
        }
    }

    #[test]
    fn a_run_as_text() {
        let rounds = vec![
            record(0, 1, Some(0.5)),
            record(0, 2, Some(0.1)),
            record(1, 1, Some(3.0)),
            record(1, 2, None),
        ];
        let run = Run { rounds, took: Duration::from_secs(10), tokens_per_word: 1.0 };
        let summary = Summary::of(&run.rounds, Objectives { ttft_s: 2.0, itl_s: 0.15 }, 10.0);
        insta::assert_snapshot!(text(&summary, &run));
    }
}

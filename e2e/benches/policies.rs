//! Routing policies on real workers: the same sessions, in alternation, so that what else the machine does falls on all alike.

#![allow(clippy::print_stdout, reason = "the table is the result")]

mod replay;

use std::collections::BTreeMap;

use ampd_loadgen::{Summary, Tally};
use replay::{Ground, Load, OBJECTIVES_MS};
use serde::Deserialize;

/// What is compared.
const POLICIES: [&str; 5] = ["ampd", "always_remote", "always_local", "paper", "dynamo_conditional"];
/// Runs of each, every one with sessions of its own.
const RUNS: u32 = 3;
const WORKERS: (u32, u32) = (2, 2);

#[derive(Deserialize)]
struct File {
    summary: Summary,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ground = Ground::prepare()?;
    let mut runs: BTreeMap<&str, Vec<Summary>> = BTreeMap::new();
    for seed in 1..=RUNS {
        let load = Load { workload: "toolbench", scale: 0.2, rate: 0.9, duration_s: 50, seed };
        println!("{load:?}");
        for policy in POLICIES {
            let written = ground.replay(WORKERS, policy, &load).await?;
            let file: File = serde_json::from_slice(&std::fs::read(written)?)?;
            println!("  {policy}: {}", line(std::slice::from_ref(&file.summary)));
            runs.entry(policy).or_default().push(file.summary);
        }
    }
    println!(
        "\n{WORKERS:?} prefill and decode workers, {RUNS} runs, TTFT and ITL within {OBJECTIVES_MS:?} ms\n"
    );
    for policy in POLICIES {
        println!("{policy:<20} {}", line(&runs[policy]));
    }
    Ok(())
}

/// Attainment over all runs and of each, and the runs' mean percentiles.
fn line(runs: &[Summary]) -> String {
    let sum = |value: fn(&Tally) -> usize| runs.iter().map(|run| value(&run.all)).sum::<usize>();
    let all = Tally { rounds: sum(|t| t.rounds), attained: sum(|t| t.attained), failed: sum(|t| t.failed) };
    let each: Vec<String> = runs.iter().map(|run| format!("{:.1}", 100.0 * run.all.attainment())).collect();
    let mean = |value: fn(&Summary) -> f64| 1e3 * runs.iter().map(value).sum::<f64>() / runs.len() as f64;
    let local: usize =
        runs.iter().filter_map(|run| run.by_prefill.get("local")).map(|tally| tally.rounds).sum();
    format!(
        "{:>5.1} % of {} ({}), {} failed; TTFT {:.0} / {:.0} ms, ITL {:.1} / {:.1} ms at P50 / P95; {:.0} % local",
        100.0 * all.attainment(),
        all.rounds,
        each.join(", "),
        all.failed,
        mean(|run| run.ttft.p50_s),
        mean(|run| run.ttft.p95_s),
        mean(|run| run.itl.p50_s),
        mean(|run| run.itl.p95_s),
        100.0 * local as f64 / all.rounds.max(1) as f64,
    )
}

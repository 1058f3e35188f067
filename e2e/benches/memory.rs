//! Memory of every process over a thousand short rounds: it must not grow with the number of rounds. Each batch has new
//! sessions; with `AMPD_BENCH_SESSIONS=returning` those of the first batches come again and again.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::time::Duration;

use ampd_testkit::chat::ChatClient;
use ampd_testkit::cluster::{LocalCluster, LocalOptions};
use ampd_testkit::crowd::Crowd;
use ampd_testkit::process::resident_bytes;

/// Rounds of one batch: 8 sessions of 5 rounds.
const SESSIONS: usize = 8;
const ROUNDS: usize = 5;
/// Batches: the first ones fill the KV pool and other caches and are not part of the slope.
const WARM_UP: usize = 5;
const BATCHES: usize = 30;

/// A KV pool that the first batches fill. Its memory is only taken when it is used first.
const KV_MIB: u32 = 128;

const MIB: f64 = (1 << 20) as f64;

/// Growth per 1,000 rounds, by least squares.
fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let xs = (0..values.len()).map(|x| x as f64 - mean_x);
    let (xy, xx) = xs.zip(values).fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + x * (y - mean_y), xx + x * x));
    xy / xx * 1000.0 / (SESSIONS * ROUNDS) as f64
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(LocalOptions { kv_mib: KV_MIB, ..LocalOptions::new(1, 1) }).await?;
    let client = ChatClient::new(&cluster.url).await?;
    let returning = std::env::var("AMPD_BENCH_SESSIONS").is_ok_and(|sessions| sessions == "returning");
    let mut resident: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for batch in 0..WARM_UP + BATCHES {
        let crowd = Crowd {
            name: format!("memory-{}", if returning { batch % WARM_UP } else { batch }),
            sessions: SESSIONS,
            rounds: ROUNDS,
            max_tokens: 2,
            again: false,
        };
        let outcomes = crowd.start(std::slice::from_ref(&client)).finish(Duration::from_mins(2)).await?;
        if let Some(failed) = outcomes.iter().find(|outcome| !outcome.complete()) {
            anyhow::bail!("a round failed: {failed:?}");
        }
        if batch + 1 >= WARM_UP {
            for member in cluster.members()? {
                let pid = member.pid.ok_or_else(|| anyhow::anyhow!("{} is gone", member.name))?;
                resident.entry(member.name).or_default().push(resident_bytes(pid)? as f64 / MIB);
            }
            let local = resident_bytes(cluster.process.pid())? as f64 / MIB;
            resident.entry("ampd local".into()).or_default().push(local);
        }
    }
    let (warm_up, rounds) = (WARM_UP * SESSIONS * ROUNDS, BATCHES * SESSIONS * ROUNDS);
    println!("{rounds} rounds after {warm_up} to warm up; resident MiB\n");
    println!(
        "{:<12} {:>10} {:>10} {:>10} {:>22}",
        "process", "before", "half-way", "after", "slope per 1000 rounds"
    );
    for (name, values) in resident {
        let (first, half, last) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("{name:<12} {first:>10.1} {half:>10.1} {last:>10.1} {:>22.2}", slope(&values));
    }
    cluster.stop().await
}

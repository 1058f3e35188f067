//! The simulator against reality: a trace is replayed against real workers, and the same rounds are simulated by the machine's
//! own profile.

#![allow(clippy::print_stdout, reason = "the tables are the result")]

mod replay;

use replay::{Ground, Load, ampd, output};

/// Workers of each role, with a load that keeps two cores busy for most of the time.
const CASES: [((u32, u32), f64); 2] = [((2, 2), 0.9), ((1, 1), 0.9)];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ground = Ground::prepare()?;
    let cores = std::thread::available_parallelism()?.to_string();
    for (workers, rate) in CASES {
        let load = Load { workload: "toolbench", scale: 0.2, rate, duration_s: 60, seed: 1 };
        let measured = ground.replay(workers, "ampd", &load).await?;
        let mut simulate = ampd(["simulate", "--cores", &cores, "-f"])?;
        simulate.arg(ground.manifest(workers.0, workers.1)?).arg("--measured").arg(measured);
        let compared = output(simulate.arg("--profile").arg(&ground.profile))?;
        println!("{load:?}\n{compared}");
    }
    Ok(())
}

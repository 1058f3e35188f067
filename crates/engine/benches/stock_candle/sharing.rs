//! Several engines on the same cores: each must get its share, not fight for it.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::CONTEXT;
use crate::decoder::{Decoder, Ours};

/// How long each measurement lasts.
const WINDOW: Duration = Duration::from_secs(3);

/// What the engines do over and over.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    start: usize,
    tokens: usize,
}

const WORK: [Work; 2] = [
    Work { name: "decode step", start: CONTEXT, tokens: 1 },
    Work { name: "prefill of 128 tokens", start: 0, tokens: 128 },
];

pub(crate) fn rows(path: &Path) -> anyhow::Result<()> {
    println!("engines of 2 threads at once, pace of each against its pace alone");
    for work in WORK {
        let alone = paces(path, 1, work)?[0];
        for engines in [2, 4] {
            let shares: Vec<String> =
                paces(path, engines, work)?.iter().map(|pace| format!("{:.2}", pace / alone)).collect();
            println!("  {engines} engines, {:<22}{}", work.name, shares.join(" "));
        }
    }
    Ok(())
}

/// Runs per second of each of `engines` engines that work at the same time.
fn paces(path: &Path, engines: usize, work: Work) -> anyhow::Result<Vec<f64>> {
    let all: Vec<Ours> = (0..engines).map(|_| Ours::load(path, 2, 1)).collect::<Result<_, _>>()?;
    let together = Barrier::new(engines);
    std::thread::scope(|scope| {
        let running: Vec<_> = all
            .into_iter()
            .map(|mut ours| {
                let together = &together;
                scope.spawn(move || {
                    let ready = ours.advance(0, CONTEXT);
                    together.wait();
                    ready?;
                    let (start, mut runs) = (Instant::now(), 0);
                    while start.elapsed() < WINDOW {
                        ours.advance(work.start, work.tokens)?;
                        runs += 1;
                    }
                    Ok(f64::from(runs) / start.elapsed().as_secs_f64())
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("an engine panicked"))?)
            .collect()
    })
}

//! What was run, and how.

use super::table::{name, table};
use crate::Results;

pub(super) fn text(results: &Results, command: &str, took: &str) -> String {
    let seeds = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let rows: Vec<Vec<String>> = results
        .cells
        .iter()
        .map(|cell| {
            vec![
                name(cell),
                format!("{:.2}", cell.ttft_s),
                format!("{:.1}", cell.itl_s * 1e3),
                format!("{:.0}", cell.until_s - cell.from_s),
                format!("{:.2}", cell.bound.rate),
                format!("{:.0}", cell.bound.rows),
                format!("{} + {}", cell.bound.split.prefill, cell.bound.split.decode),
            ]
        })
        .collect();
    let head = ["cell", "TTFT s", "ITL ms", "measured s", "bound, sessions/s", "rows", "common split"];
    let cells = table(&head.map(str::to_owned), &rows);
    let gpus = results.cells.first().map_or(0, |cell| cell.gpus);
    format!(
        "# Evaluation\n\n\
         Written by `{command}`, which took {took}. The same command gives the same numbers in `evaluation.json`, byte for \
         byte. Everything here is simulated (`crates/simulator`); no GPU was used.\n\n\
         ## What is run\n\n\
         A cell is a model and a workload on {gpus} accelerators. Step times are interpolated from measured points, with noise; \
         policies decide by a model that was fitted to noisy measurements of them, and by signals as old as in production. \
         `crates/simulator/data/README.md` says where the points come from. H20 is derived there, not measured.\n\n\
         A round meets its objectives when its TTFT and its mean ITL do. The objective of TTFT is five unloaded prefills of the \
         larger of a typical first prompt and a typical later round, that of ITL two unloaded decode steps. Rounds that never \
         end, and all rounds of refused sessions, count as missed.\n\n\
         *Goodput* is the highest rate of sessions at which {:.0} % of the rounds meet their objectives and the 99th percentile \
         of TTFT is within four objectives, so that nobody is left to starve. It is looked for with each seed by itself; \
         intervals are Student's, 95 %, over the seeds, and ratios are taken seed by seed.\n\n\
         Settings and splits are chosen with the seeds {}; results are of the seeds {}, and those of disturbances, ablations and \
         settings that are not the cell's best of the first {}. Every rival has KV cached on prefill workers and binding by load \
         where its rule leaves that open, and is tuned over its thresholds, its chunk size and the split of workers, for each \
         cell. `ampd` has one setting for all cells; it refuses sessions that cannot be served in time, and moves sessions \
         between decode workers when their next rounds come, which no rival does. `ampd_open` is the same and lets every session \
         in, as all rivals do.\n\n\
         The *bound* of a cell is fluid arithmetic: prefill workers compute full batches all the time, decode workers decode as \
         many rows (column *rows*) as the ITL objective and their memory allow all the time, and workers are divided between both \
         in fractions. With P and D seconds of a prefill and a decode worker for a mean session, N workers serve N / (P + D) \
         sessions a second. Nothing waits and nothing is transferred. A prefill beside decodes shares their reading of the \
         weights, which the bound leaves out: where that matters, it can be beaten. Serving only nine rounds of ten in time, as \
         goodput asks, it can be beaten too. The *common split* is the whole workers that come nearest to it. *Load* is a rate as \
         a share of the bound.\n\n{cells}",
        100.0 * results.attainment,
        seeds(&results.tuning_seeds),
        seeds(&results.seeds),
        results.few,
    )
}

//! What was measured beside what was simulated.

use ampd_loadgen::{Objectives, RoundRecord};
use ampd_scheduler::Slo;
use ampd_simulator::report::{Place, Run, quantile};
use comfy_table::{CellAlignment, Table, presets};

/// The percentiles that are compared.
const PERCENTILES: [f64; 7] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// TTFT and mean ITL of the same rounds, by their percentiles, and the shares that attained and that were prefilled locally.
pub(super) fn text(measured: &[RoundRecord], run: &Run, slo: &Slo) -> String {
    // Of what was measured only rounds that ended are here: refused ones are left out on this side too.
    let simulated: Vec<_> = run.rounds.iter().filter(|round| round.place != Place::Refused).collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["", "measured", "simulated", "ratio"]);
    let mut add = |name: String, measured: f64, simulated: f64, shown: fn(f64) -> String| {
        let ratio = if measured > 0.0 { format!("{:.2}", simulated / measured) } else { "-".into() };
        table.add_row([name, shown(measured), shown(simulated), ratio]);
    };
    let mut times = [
        (
            "TTFT",
            measured.iter().filter_map(|round| round.ttft_s).collect::<Vec<_>>(),
            simulated.iter().filter_map(|round| round.ttft_s).collect::<Vec<_>>(),
        ),
        (
            "mean ITL",
            measured.iter().filter_map(|round| round.itl_s).collect(),
            simulated.iter().filter_map(|round| round.itl_mean_s).collect(),
        ),
    ];
    for (name, measured, simulated) in &mut times {
        for share in PERCENTILES {
            add(
                format!("{name} P{:.0}", 100.0 * share),
                quantile(measured, share),
                quantile(simulated, share),
                ms,
            );
        }
    }
    let objectives = Objectives { ttft_s: slo.ttft_s, itl_s: slo.itl_s };
    let attained = measured.iter().filter(|round| objectives.are_met(round)).count();
    let attains = simulated.iter().filter(|round| round.attains(slo)).count();
    add("attained".into(), share(attained, measured.len()), share(attains, simulated.len()), percent);
    let local = measured.iter().filter(|round| round.prefill.as_deref() == Some("local")).count();
    let locally = simulated.iter().filter(|round| round.place == Place::Local).count();
    add("local".into(), share(local, measured.len()), share(locally, simulated.len()), percent);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{} rounds that ended were measured\n\n{table}\n", measured.len())
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn ms(seconds: f64) -> String {
    format!("{:.1} ms", 1e3 * seconds)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

//! What came of it, as a table.

use ampd_api::Service;
use ampd_simulator::report::{Run, Summary};
use comfy_table::{Table, presets};

use super::deployment::Deployment;

/// The table, headed by what was simulated.
pub(super) fn text(service: &Service, deployment: &Deployment, run: &Run, summary: &Summary) -> String {
    let Deployment { cluster, policies, slo, .. } = deployment;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["ms", "objective", "P50", "P95", "P99"]);
    let stall = format!("{} (stalls)", ms(summary.itl_stall_s));
    table.add_row([
        "TTFT",
        &ms(slo.ttft_s),
        &ms(summary.ttft_p50_s),
        &ms(summary.ttft_p95_s),
        &ms(summary.ttft_p99_s),
    ]);
    table.add_row(["ITL", &ms(slo.itl_s), &ms(summary.itl_p50_s), &ms(summary.itl_p95_s), &stall]);
    let target = service.slo.target;
    let verdict = if summary.attainment >= target { "meets" } else { "misses" };
    format!(
        "{}/{}: {} prefill and {} decode workers, policy {}\n{} rounds in {:.0} s simulated\n\n\
         attainment   {} of the rounds, {} of the sessions; {verdict} the target of {}\n\
         goodput      {:.2} rounds/s within objectives\n\
         local        {} of the prefills; {} of the rounds refused\n\
         evicted      {} tokens of idle sessions' KV\n\n{table}\n",
        service.namespace,
        service.name,
        cluster.prefill_workers,
        cluster.decode_workers,
        policies.name,
        summary.rounds,
        run.ended_s,
        percent(summary.attainment),
        percent(summary.session_attainment),
        percent(target),
        summary.goodput,
        percent(summary.local_share),
        percent(summary.refused_share),
        run.evicted_tokens,
    )
}

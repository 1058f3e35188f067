//! A plan as text.

use ampd_api::Service;
use ampd_planner::{Deployment, Plan, Pool, Prediction, Task};
use comfy_table::{CellAlignment, Table, presets};

/// The plan, why it is that, and what it was compared with.
pub(super) fn text(service: &Service, task: &Task, plan: &Plan) -> String {
    let why = format!("- {}", plan.why.join("\n- "));
    let searched = &plan.searched;
    let parts = if searched.parts == 1 {
        String::new()
    } else {
        format!(", of one part of {} of each", searched.parts)
    };
    format!(
        "{}/{}: {:.3} sessions/s, TTFT {:.0} ms, ITL {:.1} ms, policy {}\n\n{why}\n\n{}\n{} deployments in {} runs of {} \
         rounds simulated{parts}, seed {}; ~ is of short runs, which flatter\n",
        service.namespace,
        service.name,
        task.workload.arrivals.rate(),
        1e3 * task.slo.ttft_s,
        1e3 * task.slo.itl_s,
        task.policies.name,
        table(plan),
        searched.deployments,
        searched.runs,
        searched.rounds,
        searched.seed,
    )
}

fn table(plan: &Plan) -> Table {
    let mut table = Table::new();
    let head =
        ["", "GPUs", "prefill", "decode", "attained", "rounds/s", "TTFT P95", "ITL P95", "local", "refused"];
    table.load_preset(presets::NOTHING).set_header(head);
    table.add_row(row("plan", &plan.deployment, &plan.predicted));
    for other in &plan.alternatives {
        table.add_row(row("", &other.deployment, &other.predicted));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(name: &str, deployment: &Deployment, predicted: &Prediction) -> [String; 10] {
    let pool = |pool: Pool| {
        if pool.replicas == 0 { "-".into() } else { format!("{} x {}", pool.replicas, pool.degree) }
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let attained = &predicted.attainment;
    // Two runs tell an interval that is wider than anything that can be.
    let half = if attained.half_width < 0.5 {
        format!(" ± {:.1}", 100.0 * attained.half_width)
    } else {
        String::new()
    };
    [
        name.into(),
        deployment.gpus().to_string(),
        pool(deployment.prefill),
        pool(deployment.decode),
        format!("{}{:.1}{half} %", if predicted.decided { "" } else { "~" }, 100.0 * attained.mean),
        format!("{:.2}", predicted.goodput),
        format!("{:.0} ms", 1e3 * predicted.ttft_p95_s),
        format!("{:.1} ms", 1e3 * predicted.itl_p95_s),
        percent(predicted.local_share),
        percent(predicted.misses.refused),
    ]
}

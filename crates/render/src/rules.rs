//! Recording rules and alerts for a service, where the cluster has the Prometheus operator.

use serde_json::{Value, json};

use crate::monitoring::VERSION;
use crate::{Input, labels};

/// Every round that ended, as the objectives see it.
const ROUNDS: &str = "ampd_round_outcomes_total";

/// Where the runbooks are, one file for each alert.
const RUNBOOKS: &str = "https://github.com/ampd/ampd/blob/main/docs/runbooks";

/// Two windows that must both burn the error budget: the long one shows that it matters, the short one that it still goes on.
struct Burn {
    long: &'static str,
    short: &'static str,
    /// How many times faster than the budget allows.
    factor: f64,
    severity: &'static str,
    wait: &'static str,
}

/// Windows and factors of "The Site Reliability Workbook", chapter 5 (multiwindow, multi-burn-rate alerts).
const BURNS: [Burn; 4] = [
    Burn { long: "1h", short: "5m", factor: 14.4, severity: "critical", wait: "2m" },
    Burn { long: "6h", short: "30m", factor: 6.0, severity: "critical", wait: "15m" },
    Burn { long: "1d", short: "2h", factor: 3.0, severity: "warning", wait: "1h" },
    Burn { long: "3d", short: "6h", factor: 1.0, severity: "warning", wait: "3h" },
];

/// All of these windows.
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// Signals that come through a Prometheus server are as old as its scrapes are apart, and a sidecar's own age of them is
/// scraped as seldom.
const SCRAPES_S: u64 = 30;

/// The least error budget that alerts count with, so that a target of 100 % does not make every missed round an alert.
const LEAST_BUDGET: f64 = 0.001;

/// The share of missed rounds over a window, as it is recorded.
fn missed(window: &str) -> String {
    format!("ampd_service:rounds_missed:ratio_rate{window}")
}

/// At which share of missed rounds a burn is told. An objective for 90 % of the rounds can burn its budget ten times too
/// fast at most: the thresholds of services with such budgets end halfway between the budget and all rounds.
fn threshold(budget: f64, factor: f64) -> f64 {
    (budget * factor).min(f64::midpoint(budget, 1.0))
}

/// What all rules of a service have in common.
struct Rules {
    /// `namespace/name`.
    service: String,
    /// The share of rounds that may miss the objectives.
    budget: f64,
    /// The age of a load signal that is too old, seconds.
    stale_s: u64,
}

impl Rules {
    /// A metric of this service with further matchers, if any.
    fn series(&self, metric: &str, matchers: &str) -> String {
        let comma = if matchers.is_empty() { "" } else { "," };
        format!("{metric}{{ampd_service=\"{}\"{comma}{matchers}}}", self.service)
    }

    fn rate(&self, metric: &str, matchers: &str, window: &str) -> String {
        format!("sum(rate({}[{window}]))", self.series(metric, matchers))
    }

    /// Rounds that failed or were turned away are missed too. Nothing is recorded while there are no rounds.
    fn record(&self, window: &str) -> Value {
        let attained = self.rate(ROUNDS, "outcome=\"attained\"", window);
        let rounds = self.rate(ROUNDS, "", window);
        json!({
            "record": missed(window),
            "expr": format!("1 - {attained} / ({rounds} > 0)"),
            "labels": {"ampd_service": self.service},
        })
    }

    fn burn(&self, burn: &Burn) -> Value {
        let least = threshold(self.budget, burn.factor);
        let over = |window| format!("{} > {least:.6}", self.series(&missed(window), ""));
        let summary = format!(
            "Rounds miss the objectives of TTFT and ITL so often, over {} and still over {}, that the error budget is soon spent.",
            burn.long, burn.short
        );
        let mut alert = self.alert(
            ("AMPDErrorBudgetBurns", "error-budget"),
            &format!("{} and {}", over(burn.long), over(burn.short)),
            (burn.wait, burn.severity),
            &summary,
        );
        alert["labels"]["window"] = burn.long.into();
        alert
    }

    fn alert(
        &self,
        (name, runbook): (&str, &str),
        expr: &str,
        (wait, severity): (&str, &str),
        summary: &str,
    ) -> Value {
        json!({
            "alert": name, "expr": expr, "for": wait,
            "labels": {"severity": severity, "ampd_service": self.service},
            "annotations": {"summary": summary, "runbook_url": format!("{RUNBOOKS}/{runbook}.md")},
        })
    }

    /// Alerts on what breaks the objectives, or would hide that they are broken.
    fn causes(&self) -> [Value; 7] {
        let share = |part: String, of: String| format!("{part} / ({of} > 0)");
        let rounds = |outcome| self.rate(ROUNDS, outcome, "5m");
        let kv = |classes| format!("sum by (worker) ({})", self.series("ampd_worker_kv_blocks", classes));
        [
            self.alert(
                ("AMPDRoundsFail", "rounds-fail"),
                &format!("{} > 0.01", share(rounds("outcome=\"failed\""), rounds(""))),
                ("5m", "critical"),
                "More than 1 % of the rounds fail.",
            ),
            self.alert(
                ("AMPDRoundsTurnedAway", "rounds-turned-away"),
                &format!("{} > 0.05", share(rounds("outcome=\"turned_away\""), rounds(""))),
                ("10m", "warning"),
                "More than 5 % of the rounds are turned away: more comes than can be served within the objectives.",
            ),
            self.alert(
                ("AMPDRemotePrefillsFail", "remote-prefills-fail"),
                &format!(
                    "{} > 0.05",
                    share(
                        self.rate("ampd_remote_fallbacks_total", "", "5m"),
                        self.rate("ampd_prefill_decisions_total", "target=\"remote\"", "5m"),
                    )
                ),
                ("10m", "warning"),
                "More than 5 % of the remote prefills fail and run locally instead.",
            ),
            self.alert(
                ("AMPDSignalsStale", "signals-stale"),
                &format!(
                    "max by (sidecar, worker) ({}) > {}",
                    self.series("ampd_signal_age_seconds", ""),
                    self.stale_s
                ),
                ("2m", "warning"),
                "A sidecar has had no load signal of a prefill worker for longer than it holds one.",
            ),
            self.alert(
                ("AMPDWorkerNotReady", "worker-not-ready"),
                &format!("{} == 0", self.series("ampd_worker_ready", "")),
                ("15m", "warning"),
                "A worker runs and takes no work.",
            ),
            self.alert(
                ("AMPDLedgerBroken", "ledger-broken"),
                &format!("{} != {}", kv("class!=\"total\""), kv("class=\"total\"")),
                ("5m", "critical"),
                "KV blocks of a worker are in no class or in two: its books do not add up.",
            ),
            self.alert(
                ("AMPDMetricsAbsent", "metrics-absent"),
                &format!("absent({})", self.series("ampd_worker_ready", "")),
                ("10m", "warning"),
                "No worker of the service is scraped: it has none, or nobody can say how it does.",
            ),
        ]
    }
}

/// The `PrometheusRule` of a service.
pub(crate) fn prometheus_rule(input: &Input<'_>) -> Value {
    let name = input.name();
    let rules = Rules {
        service: format!("{}/{name}", input.service.namespace),
        budget: (1.0 - input.service.slo.target).max(LEAST_BUDGET),
        stale_s: input.service.routing.window.as_secs() + SCRAPES_S,
    };
    let records = WINDOWS.map(|window| rules.record(window));
    let mut alerts: Vec<Value> = BURNS.iter().map(|burn| rules.burn(burn)).collect();
    alerts.extend(rules.causes());
    json!({
        "apiVersion": VERSION,
        "kind": "PrometheusRule",
        "metadata": input.metadata(name.to_owned(), labels::service(name)),
        "spec": {"groups": [
            {"name": format!("ampd-{name}-attainment"), "rules": records},
            {"name": format!("ampd-{name}"), "rules": alerts},
        ]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_that_burns_is_recorded() {
        let burning = BURNS.iter().flat_map(|burn| [burn.short, burn.long]);
        assert!(burning.into_iter().all(|window| WINDOWS.contains(&window)));
    }

    #[test]
    fn a_small_budget_burns_by_the_factors_and_a_large_one_can_burn_at_all() {
        assert!((threshold(0.01, 14.4) - 0.144).abs() < 1e-12);
        for factor in BURNS.map(|burn| burn.factor) {
            for budget in [LEAST_BUDGET, 0.1, 0.5, 0.99] {
                let threshold = threshold(budget, factor);
                assert!(threshold >= budget && threshold < 1.0, "{budget} {factor}: {threshold}");
            }
        }
    }
}

//! Load signals through a real Prometheus server: decisions follow its series, and its loss costs no client anything.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::time::Duration;

use ampd_testkit::chat::{ChatClient, Conversation, http};
use ampd_testkit::cluster::{ManualCluster, ManualOptions, Metrics, Role, model, skipped};
use ampd_testkit::ports::free_port;
use ampd_testkit::prometheus::{Prometheus, program};
use ampd_testkit::wait::until;

/// Until a first scrape is through, or an old one too old.
const LIMIT: Duration = Duration::from_mins(1);

async fn sidecar_metrics(cluster: &ManualCluster) -> Metrics {
    Metrics::read(&http().unwrap(), cluster.member("sidecar-0").unwrap()).await.unwrap()
}

fn decisions(metrics: &Metrics, labels: &[(&str, &str)]) -> f64 {
    metrics.sum("ampd_prefill_decisions_total", labels)
}

/// A round with an increment that is worth sending, in a new session.
async fn round(client: &ChatClient, number: usize) {
    let text = format!("Note {number}: {}. Is that right?", "some words ".repeat(40));
    let answer = Conversation::new(client, format!("series-{number}")).say(&text, 2).await.unwrap();
    assert!(answer.complete(), "{answer:?}");
}

#[tokio::test]
async fn decisions_follow_the_series_of_a_prometheus_server() {
    let Some((program, _)) = program().zip(model()) else {
        return skipped("AMPD_PROMETHEUS or AMPD_MODEL");
    };
    let address = free_port().unwrap();
    let url = format!("http://{address}");
    let options = ManualOptions {
        prefill: 2,
        decode: 1,
        sidecar_arguments: ["--signals", "prometheus", "--prometheus-url", &url].map(Into::into).into(),
        ..ManualOptions::default()
    };
    let cluster = ManualCluster::start(options).await.unwrap();
    let client = ChatClient::new(&cluster.urls()[0]).await.unwrap();
    // Before there is a server, rounds are served by the static rule.
    round(&client, 0).await;
    let workers = cluster.members.iter().filter(|member| member.role != Role::Sidecar);
    let targets: Vec<_> = workers.map(|worker| worker.control_url.as_ref().unwrap()).collect();
    let targets: Vec<_> = targets.iter().map(|url| url.trim_start_matches("http://")).collect();
    let server = Prometheus::start(program, address, &targets).await.unwrap();
    until("signals of both prefill workers", LIMIT, async || {
        let metrics = sidecar_metrics(&cluster).await;
        let ages = ["prefill-0", "prefill-1"]
            .map(|name| metrics.value("ampd_signal_age_seconds", &[("worker", name)]));
        let fresh = ages.iter().all(|age| age.as_ref().is_ok_and(|age| *age < 2.0));
        if fresh { Ok(()) } else { Err(format!("{ages:?}")) }
    })
    .await
    .unwrap();
    let before = sidecar_metrics(&cluster).await;
    for number in 1..=6 {
        round(&client, number).await;
    }
    let after = sidecar_metrics(&cluster).await;
    assert_eq!(decisions(&after, &[]), decisions(&before, &[]) + 6.0);
    let stale = [("reason", "stale_signals")];
    assert_eq!(
        decisions(&after, &stale),
        decisions(&before, &stale),
        "a fresh signal was taken for an old one"
    );
    let read = |metrics: &Metrics| metrics.sum("ampd_signal_reads_total", &[("outcome", "ok")]);
    assert!(read(&after) > read(&before), "no reads are counted");
    // Idle prefill workers are what the series show: the first rule applies.
    assert!(decisions(&after, &[("target", "remote")]) > decisions(&before, &[("target", "remote")]));
    drop(server);
    let mut number = 7;
    until("the static rule", LIMIT, async || {
        round(&client, number).await;
        number += 1;
        let now = decisions(&sidecar_metrics(&cluster).await, &stale);
        if now > decisions(&after, &stale) { Ok(()) } else { Err("signals still count as fresh") }
    })
    .await
    .unwrap();
}

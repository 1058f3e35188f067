//! The prefill workers' load through a Prometheus server's HTTP API, for clusters that forbid direct reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ampd_telemetry::exposition::Sample;
use ampd_telemetry::table::{self, SERVICE};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{PREFIX, WorkerLoad};
use super::state::Shared;

/// How often the server is asked. It reads the workers itself every few seconds.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Largest answer, bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Why a reading failed.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the Prometheus server does not answer")]
    Http(#[from] reqwest::Error),
    #[error("no answer within {DEADLINE:?}")]
    Deadline,
    #[error("the Prometheus server answered {0}")]
    Status(http::StatusCode),
    #[error("the answer exceeds {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("the answer is not that of Prometheus' query API")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: HashMap<String, String>,
    value: (f64, String),
}

/// Reads until the shutdown.
pub(super) async fn read(shared: Arc<Shared>, server: Url) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let reading = tokio::time::timeout(DEADLINE, once(&shared, &server));
        let failed = reading.await.unwrap_or(Err(ReadError::Deadline)).err();
        shared.metrics.signal_reads.with([if failed.is_some() { "failed" } else { "ok" }]).inc();
        let text = failed.as_ref().map(ToString::to_string);
        if let Some(error) = failed
            && told != text
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "signals cannot be read");
        }
        told = text;
    }
}

/// Takes in the last sample of every series. An instant query's times are those of the query: how old a sample is, only
/// `timestamp` tells.
async fn once(shared: &Shared, server: &Url) -> Result<(), ReadError> {
    let followed = shared.followed();
    let [series, times] = queries(&shared.config.service, followed.iter().map(|worker| &*worker.name));
    let series = query(shared, server, &series).await?;
    let times = query(shared, server, &times).await?;
    let (now_s, wall_s) = (shared.clock.now_s(), unix_s());
    let times: HashMap<String, f64> = times
        .into_iter()
        .filter_map(|series| Some((series.metric.get("worker")?.clone(), series.value.1.parse().ok()?)))
        .collect();
    let mut samples: HashMap<String, Vec<Sample>> = HashMap::new();
    for series in series {
        if let Some((worker, sample)) = sample(series) {
            samples.entry(worker).or_default().push(sample);
        }
    }
    for worker in followed {
        let Some(at_s) = times.get(&worker.name) else { continue };
        match samples.get(&worker.name).map(|samples| WorkerLoad::from_samples(samples)) {
            // Clocks may differ; nothing is younger than now.
            Some(Ok(load)) => shared.signals.read(&worker.name, load, (now_s - (wall_s - at_s)).min(now_s)),
            Some(Err(error)) => {
                tracing::debug!(worker = worker.name, %error, "a worker's series are incomplete");
            }
            None => {}
        }
    }
    Ok(())
}

/// The load of these workers of the service, and when it was read. A server may hold many other series.
fn queries<'a>(service: &str, workers: impl Iterator<Item = &'a str>) -> [String; 2] {
    // Names are those of Kubernetes objects, with a dot as the only character that has a meaning here.
    let workers = workers.map(|name| name.replace('.', "[.]")).collect::<Vec<_>>().join("|");
    let of = format!("{SERVICE}=\"{service}\",role=\"prefill\",worker=~\"{workers}\"");
    let rows = table::worker::TABLE.iter().filter(|row| row.load).map(|row| row.name);
    let names = rows.collect::<Vec<_>>().join("|");
    [format!("{{__name__=~\"{names}\",{of}}}"), format!("timestamp({PREFIX}ready{{{of}}})")]
}

async fn query(shared: &Shared, server: &Url, query: &str) -> Result<Vec<Series>, ReadError> {
    let mut url = server.clone();
    url.set_path(&format!("{}/api/v1/query", server.path().trim_end_matches('/')));
    url.query_pairs_mut().append_pair("query", query);
    let mut response = shared.clients.prefill.get(url).send().await?;
    if !response.status().is_success() {
        return Err(ReadError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice::<Answer>(&body)?.data.result)
}

/// A series as its worker itself would show it.
fn sample(series: Series) -> Option<(String, Sample)> {
    let name = series.metric.get("__name__")?.clone();
    let worker = series.metric.get("worker")?.clone();
    let value = series.value.1.parse().ok()?;
    let labels = series.metric.into_iter().filter(|(label, _)| label != "__name__").collect();
    Some((worker, Sample { name, labels, value, timestamp_ms: None }))
}

fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_load_of_followed_workers_of_the_service_is_asked_for() {
        let [series, times] = queries("default/chat", ["p-0", "p.1"].into_iter());
        let of = r#"ampd_service="default/chat",role="prefill",worker=~"p-0|p[.]1""#;
        assert!(
            series.ends_with(&format!("{of}}}")) && series.contains("ampd_worker_backlog_seconds"),
            "{series}"
        );
        assert!(!series.contains("steps_total"), "{series}");
        assert_eq!(times, format!("timestamp(ampd_worker_ready{{{of}}})"));
    }

    #[test]
    fn answers_become_samples() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"ampd_worker_windowed_ttft_seconds","role":"prefill","worker":"p0"},"value":[1.5,"NaN"]},
            {"metric":{"__name__":"ampd_worker_ready","worker":"p0"},"value":[1.5,"1"]},
            {"metric":{"__name__":"ampd_worker_ready"},"value":[1.5,"1"]}]}}"#;
        let series = serde_json::from_str::<Answer>(text).unwrap().data.result;
        let samples: Vec<_> = series.into_iter().filter_map(sample).collect();
        assert_eq!(samples.len(), 2);
        assert!(samples[0].0 == "p0" && samples[0].1.value.is_nan());
        assert_eq!((samples[1].1.name.as_str(), samples[1].1.value), ("ampd_worker_ready", 1.0));
    }
}

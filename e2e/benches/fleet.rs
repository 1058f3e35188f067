//! Three hundred services on a control plane alone: how long until all are as they should be, and what the operator costs then.
//! It runs in the network of `cargo xtask cluster up --control-plane`; pods wait there for ever, which is all that is needed.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::process::Command;
use std::time::{Duration, Instant};

use ampd_api::AMPDService;
use ampd_e2e::cluster::{connect, wait_for};
use ampd_testkit::cluster::Metrics;
use ampd_testkit::process::{Process, resident_bytes};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use serde_json::json;

const SERVICES: usize = 300;
const NAMESPACE: &str = "fleet";
const METRICS: &str = "127.0.0.1:18081";
const LIMIT: Duration = Duration::from_mins(15);
/// How long nothing may be written.
const REST: Duration = Duration::from_mins(2);
const MIB: f64 = (1 << 20) as f64;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::var_os("KUBECONFIG").is_none() {
        println!("left out: it needs a cluster, see benches/operator.md");
        return Ok(());
    }
    let client = connect().await?;
    prepare(&client).await?;
    let folder = tempfile::tempdir()?;
    println!("{SERVICES} services, {} Deployments\n", 2 * SERVICES);
    println!(
        "{:<22} {:>14} {:>10} {:>10} {:>14} {:>14}",
        "operator", "all as wanted", "writes", "RSS MiB", "reconcile p99", "writes at rest"
    );
    for run in ["first start", "after a restart"] {
        let start = Instant::now();
        let mut operator = operator(folder.path(), run)?;
        converged(&client).await?;
        let took = start.elapsed();
        let calm = calm().await?;
        tokio::time::sleep(REST).await;
        let later = read().await?;
        let writes = |metrics: &Metrics| metrics.sum("ampd_operator_api_writes_total", &[]);
        println!(
            "{run:<22} {:>12.1} s {:>10} {:>10.1} {:>11.0} ms {:>14}",
            took.as_secs_f64(),
            writes(&calm),
            resident_bytes(operator.pid())? as f64 / MIB,
            p99(&later)? * 1000.0,
            writes(&later) - writes(&calm),
        );
        operator.signal(Signal::TERM)?;
        operator.wait(Duration::from_secs(30)).await?;
    }
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    Ok(())
}

/// Definitions, namespace and services.
async fn prepare(client: &Client) -> anyhow::Result<()> {
    let apply = PatchParams::apply("bench").force();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in ampd_api::crds() {
        let name = definition.name_any();
        definitions.patch(&name, &apply, &Patch::Apply(&definition)).await?;
        wait_for(&definitions, &name, "is established", LIMIT, is_crd_established()).await?;
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    Api::<Namespace>::all(client.clone()).patch(NAMESPACE, &apply, &Patch::Apply(namespace)).await?;
    let services = Api::<AMPDService>::namespaced(client.clone(), NAMESPACE);
    futures::stream::iter(0..SERVICES)
        .map(|index| {
            let (services, apply) = (services.clone(), apply.clone());
            async move {
                let name = format!("service-{index}");
                let service = json!({
                    "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": {"name": name},
                    "spec": {"model": {"name": "m", "source": {"path": "/m.gguf"}}},
                });
                services.patch(&name, &apply, &Patch::Apply(service)).await.context(name)
            }
        })
        .buffer_unordered(8)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}

fn operator(folder: &std::path::Path, run: &str) -> anyhow::Result<Process> {
    let ampd = std::env::var_os("AMPD_BIN").context("AMPD_BIN is not set")?;
    let program = std::path::Path::new(&ampd).with_file_name("ampd-operator");
    let mut command = Command::new(program);
    command.args(["--namespace", NAMESPACE, "--name", "bench", "--log-filter", "warn"]);
    command.args(["--health-listen", "127.0.0.1:18080", "--metrics-listen", METRICS]);
    Process::start(run, command, folder)
}

/// Waits until every service's status speaks of its manifest, and every Deployment is there.
async fn converged(client: &Client) -> anyhow::Result<()> {
    let services = Api::<AMPDService>::namespaced(client.clone(), NAMESPACE);
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let start = Instant::now();
    loop {
        let told = services.list(&ListParams::default()).await?.items.into_iter().filter(|service| {
            service.status.as_ref().and_then(|status| status.observed_generation)
                == service.metadata.generation
        });
        let (told, made) = (told.count(), deployments.list(&ListParams::default()).await?.items.len());
        let reconciled =
            read().await.map_or(0.0, |read| read.sum("ampd_operator_reconciles_total", &[("outcome", "ok")]));
        if told == SERVICES && made == 2 * SERVICES && reconciled >= SERVICES as f64 {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "{told} services and {made} Deployments after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn read() -> anyhow::Result<Metrics> {
    Metrics::parse(&reqwest::get(format!("http://{METRICS}/metrics")).await?.text().await?)
}

/// Waits until nothing has been written for ten seconds: pods and their conditions come after Deployments.
async fn calm() -> anyhow::Result<Metrics> {
    let mut before = read().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = read().await?;
        let writes = |metrics: &Metrics| metrics.sum("ampd_operator_api_writes_total", &[]);
        if writes(&now).to_bits() == writes(&before).to_bits() {
            return Ok(now);
        }
        before = now;
    }
}

/// The least bucket's bound that 99 % of the reconciles are within, seconds.
fn p99(metrics: &Metrics) -> anyhow::Result<f64> {
    let all = metrics.value("ampd_operator_reconcile_seconds_count", &[])?;
    let buckets = metrics.series("ampd_operator_reconcile_seconds_bucket", &[]);
    let within = buckets.filter(|sample| sample.value >= 0.99 * all);
    let bounds = within.filter_map(|sample| sample.label("le")?.parse().ok());
    bounds.reduce(f64::min).context("no buckets")
}

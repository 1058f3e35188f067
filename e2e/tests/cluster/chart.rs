//! The chart on a real Kubernetes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ampd_e2e::cluster::{connect, with_namespace};
use ampd_testkit::official::{Plan, converse_with};
use anyhow::ensure;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use crate::ONE;

const LIMIT: Duration = Duration::from_mins(3);
const SERVICE: &str = include_str!("../../../manifests/smollm2.yaml");

fn plan(session: &str) -> Plan<'_> {
    Plan { session, conversations: 2, rounds: 2, max_tokens: 16, gaps: false }
}

/// Runs helm on the release of the operator.
fn helm(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("helm");
    command.args(arguments).args(["--namespace", "ampd-system"]);
    let done = command.output()?;
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    ensure!(done.status.success(), "helm {arguments:?}: {said}");
    Ok(said)
}

/// The chart as it was before its last change, as far as the history tells: a clone may have none.
fn previous_chart(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let git = |arguments: &[&str]| {
        Command::new("git").args(["-C", concat!(env!("CARGO_MANIFEST_DIR"), "/..")]).args(arguments).output()
    };
    let changes = git(&["log", "--max-count=2", "--format=%H", "--", "charts/ampd"])?;
    let changes = String::from_utf8(changes.stdout)?;
    let Some(commit) = changes.lines().nth(1) else { return Ok(None) };
    let archive = folder.join("chart.tar");
    let written = git(&["archive", "--output", archive.to_str().unwrap(), commit, "charts/ampd"])?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let unpacked = Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(&archive).status()?;
    ensure!(unpacked.success(), "tar ended with {unpacked}");
    Ok(Some(folder.join("charts/ampd")))
}

#[tokio::test]
#[ignore = "needs the cluster of `cargo xtask e2e`"]
async fn the_release_is_upgraded_tested_and_rolled_back_while_a_service_serves() -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ampd");
    let folder = tempfile::tempdir()?;
    let previous = previous_chart(folder.path())?;
    with_namespace(async |namespace| {
        // One decode worker that serves all the time.
        let text = SERVICE.replacen("{min: 2}", "{min: 0}", 1).replacen("{min: 2}", "{min: 1}", 1);
        namespace.apply(&text).await?;
        namespace.settled("smollm2", LIMIT).await?;
        let served = namespace.served("smollm2").await?;
        let pods = namespace.pods("app.kubernetes.io/component=decode").await?;
        let serves = async |what: &str| {
            converse_with(&served.url, &served.key, plan(what)).await?;
            let now = namespace.pods("app.kubernetes.io/component=decode").await?;
            ensure!(now == pods, "after {what}, {now:?} serve and not {pods:?}");
            Ok(())
        };
        let upgrade = ["upgrade", "ampd", chart, "--reuse-values", "--wait", "--timeout=3m"];
        match previous.as_deref().and_then(Path::to_str) {
            Some(previous) => {
                let back = ["upgrade", "ampd", previous, "--reuse-values", "--wait", "--timeout=3m"];
                helm(&back)?;
                serves("the previous chart").await?;
            }
            None => eprintln!("there is no history: the present chart stands for the previous one"),
        }
        helm(&[&upgrade[..], &["--set=log.filter=debug"]].concat())?;
        helm(&["test", "ampd", "--timeout=2m"])?;
        serves("the upgrade").await?;
        helm(&["rollback", "ampd", "--wait", "--timeout=3m"])?;
        helm(&["test", "ampd", "--timeout=2m"])?;
        serves("the rollback").await?;
        helm(&upgrade)?;
        // A value of the wrong form is refused by name.
        for (name, value) in [
            ("replicas", "none"),
            ("certificateLifetime", "999d"),
            ("clusterDomain", "no domain"),
            ("log.filter", "so much"),
        ] {
            let set = format!("--set={name}={value}");
            let refused = helm(&[&upgrade[..], &[&set]].concat()).unwrap_err().to_string();
            assert!(refused.contains(name.split('.').next_back().unwrap()), "{refused}");
        }
        // The definitions outlive the release, so that services do.
        let definitions = Api::<CustomResourceDefinition>::all(connect().await?);
        let definition = definitions.get("ampdservices.ampd.dev").await?;
        assert_eq!(definition.metadata.annotations.unwrap()["helm.sh/resource-policy"], "keep");
        serves("all of it").await?;
        Ok(())
    })
    .await
}

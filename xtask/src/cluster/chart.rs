//! The operator, installed in the cluster by the project's chart.

use super::clients::Client;
use super::images::Image;
use crate::command::{root, run};

/// The release, and where it is.
const RELEASE: &str = "ampd";
const NAMESPACE: &str = "ampd-system";

/// Installs the chart with these images, or brings it up to date. Whether the operator then runs is for those to see who
/// work on it: they need the cluster all the more when it does not.
pub(crate) fn install(client: &Client, images: &[Image]) -> anyhow::Result<()> {
    let chart = root().join("charts/ampd");
    let mut helm = client.command("helm")?;
    helm.args(["upgrade", "--install", RELEASE]).arg(chart).args([
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ]);
    helm.arg("--set=replicas=2");
    helm.arg(format!("--set=hubEndpoint={}", super::hub::endpoint()));
    for image in images {
        let Some((repository, tag)) = image.name.rsplit_once(':') else { continue };
        let value = match repository {
            "localhost/ampd-operator" => "image",
            "localhost/ampd-worker" => "workerImage",
            _ => continue,
        };
        helm.arg(format!("--set={value}.repository={repository},{value}.tag={tag}"));
        // The name stays the same when the image changes, and the pod is to be started anew.
        helm.arg(format!("--set-string=podAnnotations.{value}={}", image.key()));
    }
    run(helm.stdout(std::process::Stdio::null()))
}

/// Waits until the operator is ready.
pub(crate) fn rolled_out(client: &Client) -> anyhow::Result<()> {
    let mut kubectl = client.command("kubectl")?;
    let deployment = format!("deployment/{RELEASE}");
    run(kubectl.args(["--namespace", NAMESPACE, "rollout", "status", "--timeout=3m", &deployment]))
}

//! What is rendered, against the schemas of Kubernetes: the chart, and what the operator makes of the examples.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::command::{output, program, root, run};
use crate::{cluster, equipment, python};

/// Whether there is a helm for this machine.
pub(crate) const CAN_RUN: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));
/// The oldest and the newest Kubernetes that it is for.
const VERSIONS: [&str; 2] = ["1.33", "1.37"];
/// Values with which the chart is rendered: as it is, and with whatever is off by default.
const VALUES: [&[&str]; 2] = [
    &[],
    &[
        "--set=watchNamespace=team,hubEndpoint=http://hub,serviceMonitor.enabled=true,prometheusRule.enabled=true",
    ],
];
const CHART: &str = "charts/ampd";

/// Lints the chart, and checks everything that is rendered. The program `ampd` has been built.
pub(crate) fn check() -> anyhow::Result<()> {
    let helm = cluster::programs()?.join("helm");
    run(program(&helm).args(["lint", "--strict", "--quiet", CHART]))?;
    let folder = tempfile::tempdir()?;
    let rendered = rendered(&helm, folder.path())?;
    let validate = python::manifests()?.join("kubernetes-validate");
    for version in VERSIONS {
        // Kinds of other projects are unknown to it.
        let arguments = ["--strict", "--quiet", "--no-warn", "--kubernetes-version", version];
        run(program(&validate).args(arguments).args(&rendered))?;
    }
    // A check that lets everything through is none.
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {portz: []}}")?;
    let refused = program(&validate).args(["--strict", "--quiet"]).arg(&wrong).output()?;
    ensure!(!refused.status.success(), "a field that does not exist was not noticed");
    eprintln!("{} files are valid for Kubernetes {}", rendered.len(), VERSIONS.join(" and "));
    Ok(())
}

/// The chart and the examples, each rendered into a file of `folder`.
fn rendered(helm: &Path, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (index, values) in VALUES.iter().enumerate() {
        let file = folder.join(format!("chart-{index}.yaml"));
        let template = ["template", "ampd", CHART, "--namespace", "ampd-system"];
        std::fs::write(&file, output(program(helm).args(template).args(*values))?)?;
        files.push(file);
    }
    let ampd = equipment::program("ampd")?;
    for example in std::fs::read_dir(root().join("manifests"))? {
        let example = example?.path();
        let file = folder.join(example.file_name().context("a file without a name")?);
        let render = ["render", "--prometheus-operator", "--file"];
        std::fs::write(&file, output(program(&ampd).args(render).arg(&example))?)?;
        files.push(file);
    }
    Ok(files)
}

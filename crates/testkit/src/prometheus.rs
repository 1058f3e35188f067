//! A real Prometheus server that scrapes workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;

/// Longest time until it answers.
const READY: Duration = Duration::from_secs(30);

/// The program, named by `AMPD_PROMETHEUS`.
#[must_use]
pub fn program() -> Option<PathBuf> {
    std::env::var_os("AMPD_PROMETHEUS").map(PathBuf::from)
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one on `address` that reads `/metrics/load` of these addresses (without scheme) twice a second, and waits
    /// until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub async fn start(program: PathBuf, address: SocketAddr, targets: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "scrape_configs:\n- job_name: workers\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  \
                 metrics_path: /metrics/load\n  static_configs:\n  - targets: {}\n",
                serde_json::to_string(targets)?
            ),
        )?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", command, folder.path())?;
        let (http, url) = (crate::chat::http()?, format!("http://{address}/-/ready"));
        crate::wait::until("Prometheus", READY, async || {
            http.get(&url).send().await?.error_for_status()?;
            Ok::<_, anyhow::Error>(())
        })
        .await
        .map_err(|error| error.context(process.output()))?;
        Ok(Self { _process: process, _folder: folder })
    }
}

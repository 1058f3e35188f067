//! What goes on in pods.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines of a log that are read.
const LINES: i64 = 200;
/// How long a command in a container may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What came of a command in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether it ended with status 0.
    pub success: bool,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// The last lines of a container, or of the run before its restart.
pub(super) async fn logs(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    previous: bool,
) -> anyhow::Result<String> {
    let container = Some(container.to_owned());
    let parameters = LogParams { container, previous, tail_lines: Some(LINES), ..LogParams::default() };
    pods.logs(pod, &parameters).await.with_context(|| format!("no logs of {pod}"))
}

/// Runs a command to its end.
pub(super) async fn exec(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    command: &[&str],
) -> anyhow::Result<Output> {
    let run = async {
        let parameters = AttachParams::default().container(container).stdin(false);
        let mut process = pods.exec(pod, command.iter().copied(), &parameters).await?;
        let status = process.take_status().context("no status")?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), status);
        let success = status.is_some_and(|status| status.status.as_deref() == Some("Success"));
        anyhow::Ok(Output { success, stdout: stdout?, stderr: stderr? })
    };
    let ended = tokio::time::timeout(LIMIT, run).await.context("it does not end").flatten();
    ended.with_context(|| format!("{command:?} in {pod}"))
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> anyhow::Result<String> {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream.read_to_string(&mut text).await?;
    }
    Ok(text)
}

//! The process around the sidecar: runtime, signals, exit codes.

use std::io::Write as _;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::args::Args;
use super::error::StartError;
use super::run::start;
use crate::process;

/// Runs a sidecar until it is told to stop, and returns the exit code of the process.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    if let Err(error) = ampd_telemetry::logging::init(args.log_format, &args.log_filter) {
        // There may be nobody who reads it.
        let _ = writeln!(std::io::stderr(), "{}", process::chain(&error));
        return ExitCode::from(process::exit::USAGE);
    }
    process::raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&StartError::System(error)),
    };
    let result = runtime.block_on(serve(args));
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn serve(args: Args) -> Result<(), StartError> {
    let shutdown = CancellationToken::new();
    process::watch_signals(shutdown.clone()).map_err(StartError::System)?;
    if args.die_with_parent {
        process::die_with_parent(shutdown.clone()).map_err(StartError::System)?;
    }
    let running = start(args, shutdown).await?;
    running.wait().await;
    Ok(())
}

fn failed(error: &StartError) -> ExitCode {
    tracing::error!("{}", process::chain(error));
    ExitCode::from(error.exit_code())
}

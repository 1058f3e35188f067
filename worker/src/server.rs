//! The engine server, `ampd-worker`: one engine behind the control API, in one of two roles.
//!
//! The engine runs on a thread of its own; everything else is async and reaches it through `engine`. A decode worker
//! opens and runs rounds, and serves its KV to prefill workers; a prefill worker takes tasks from decode workers.

mod args;
mod control;
mod engine;
mod error;
mod front;
pub(crate) mod guess;
mod kv_store;
mod load;
mod load_model;
mod moves;
mod ndjson;
mod phase;
mod prefill;
mod rounds;
mod start;
mod stats;
mod supervise;

use std::process::ExitCode;

pub use args::{Args, MAX_STEP};
pub use load_model::step_limits;
pub use start::{Running, ServerError, start};

use tokio_util::sync::CancellationToken;

use crate::process::{chain, die_with_parent, exit, raise_file_limit, watch_signals};

/// How long threads that still load a model may hold up the end of the process.
const LAST_THREADS: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs a worker until a signal ends it; see [`exit`] for the codes.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    if let Err(error) = start_logging(&args) {
        // There is no log to write it to.
        return complain(&error, exit::USAGE);
    }
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, exit::UNAVAILABLE),
    };
    let outcome = runtime.block_on(run(args));
    runtime.shutdown_timeout(LAST_THREADS);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the worker ends");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(args: Args) -> Result<(), ServerError> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone()).map_err(ServerError::Process)?;
    if args.die_with_parent {
        die_with_parent(shutdown.clone()).map_err(ServerError::Process)?;
    }
    start(args, shutdown).await?.finished().await
}

fn start_logging(args: &Args) -> Result<(), ampd_telemetry::logging::LoggingError> {
    ampd_telemetry::logging::init(args.log_format, &args.log_filter)
}

fn complain(error: &dyn std::error::Error, code: u8) -> ExitCode {
    // Standard error may be closed; the exit code says it too.
    let _ =
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("ampd-worker: {}\n", chain(error)));
    ExitCode::from(code)
}

//! What the binaries do as processes: signals, and not outliving their parent.

use std::time::Duration;

pub use ampd_telemetry::chain;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit codes, as in `sysexits.h` where it has one.
pub mod exit {
    /// Wrong use of the command line; clap uses it too.
    pub const USAGE: u8 = 2;
    /// An internal defect was found.
    pub const SOFTWARE: u8 = 70;
    /// The port is in use, or another resource of the system cannot be had.
    pub const UNAVAILABLE: u8 = 69;
    /// A file that the configuration names cannot be used.
    pub const CONFIG: u8 = 78;
    /// A signal ended the work before it was done: SIGTERM's number above 128, as shells have it.
    pub const STOPPED: u8 = 128 + 15;
}

/// Cancels `shutdown` on the first SIGTERM or SIGINT and ends the process at once on the second.
///
/// # Errors
/// When the signals cannot be handled.
pub fn watch_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        next_signal(&mut terminate, &mut interrupt).await;
        tracing::info!("asked to stop; a second signal ends the process at once");
        shutdown.cancel();
        let code = next_signal(&mut terminate, &mut interrupt).await;
        std::process::exit(code);
    });
    Ok(())
}

/// The exit code of a process that the signal ended.
async fn next_signal(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 128 + 15,
        _ = interrupt.recv() => 128 + 2,
    }
}

/// Ends this process when its parent is gone, however that ended: the kernel sends a signal, and standard input, a pipe
/// that the parent holds, reports its end.
///
/// # Errors
/// When the kernel refuses.
pub fn die_with_parent(shutdown: CancellationToken) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The parent may have ended before the line above: then another process has adopted this one, and the pipe says so.
    tokio::spawn(async move {
        let mut input = tokio::io::stdin();
        let mut buffer = [0; 64];
        while matches!(input.read(&mut buffer).await, Ok(read) if read > 0) {}
        tracing::info!("the parent is gone");
        shutdown.cancel();
        tokio::time::sleep(Duration::from_secs(15)).await;
        std::process::exit(128 + 15);
    });
    Ok(())
}

/// Raises the limit on open files as far as the system lets: each connection is one, and shells start programs with few.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, what there was has to do.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Files that this process may have open at once.
#[must_use]
pub fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

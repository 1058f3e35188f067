//! `ampd local`: a whole service as processes on this machine.

mod arguments;
mod backoff;
mod banner;
mod child;
mod child_log;
mod cluster;
mod cores;
mod front;
mod members;
mod monitor;
mod notices;
mod plan;
mod prepare;
mod readings;
mod run;
mod run_dir;
mod screen;
mod signals;
mod state_file;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ampd_engine::BackendKind;

use crate::model::ModelRef;

/// From the end of the children's own grace to their being killed.
const KILL_AFTER_GRACE: Duration = Duration::from_secs(2);

/// Workers of one role, at most.
const MAX_WORKERS: u16 = 64;

/// Threads of this process's own runtime: it passes bytes on and asks its children how they are.
const RUNTIME_THREADS: usize = 2;

/// Runs a service on this machine.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The manifest, an `AMPDService`; `-` reads standard input. By default a small service of SmolLM2-135M-Instruct.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// The model instead of the manifest's: `smollm2`, a file or folder, or a Hugging Face id
    /// (`organisation/name[@revision][:file.gguf]`).
    #[arg(long)]
    model: Option<ModelRef>,
    /// Port of the OpenAI API on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Prefill workers, instead of the manifest's number; 0 is legal.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_WORKERS)))]
    prefill: Option<u16>,
    /// Decode workers, instead of the manifest's number.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WORKERS)))]
    decode: Option<u16>,
    /// Routing policy instead of the manifest's.
    #[arg(long, value_parser = ampd_worker::policy_parser())]
    policy: Option<ampd_worker::sidecar::Policy>,
    /// File that says who runs where, rewritten at every change and removed at the end.
    #[arg(long)]
    state_file: Option<PathBuf>,
    /// Threads of each worker; by default the manifest's number, else the cores are shared out. The tensor backend takes
    /// `RAYON_NUM_THREADS` instead.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// KV pool of each worker, MiB; by default the manifest's, else a quarter of the free memory is shared out.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    kv_mib: Option<u32>,
    /// Compute backend: cpu or tensor.
    #[arg(long, default_value = "cpu")]
    backend: BackendKind,
    /// Performance model for all workers, from `ampd profile`; by default the cached one, measured at the first start.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Measures nothing: workers without a cached profile start with a guess and correct it while they serve.
    #[arg(long)]
    no_profile: bool,
    /// Keeps the folder of topology and logs at the end.
    #[arg(long)]
    keep_run_dir: bool,
    /// What the processes log, such as `info` or `ampd_worker=debug,warn`.
    #[arg(long, default_value = "info")]
    log_filter: String,
}

/// Runs the command.
pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    let result = runtime.block_on(run::run(args));
    // A download that was broken off may still hold a thread.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

//! `ampd-model fetch`: a model from Hugging Face into a folder, before the worker that loads it starts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ampd_models::{BadName, BadSetting, FetchError, Note, Pace, Progress, Report, Settings, Token, Wanted};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::process::{chain, exit, watch_signals};

/// Command line of `ampd-model fetch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository, `organisation/name`.
    #[arg(long, env = "AMPD_MODEL_REPO")]
    repo: String,
    /// A branch, a tag or a commit of it.
    #[arg(long, env = "AMPD_MODEL_REVISION", default_value = "main")]
    revision: String,
    /// One `.gguf` file of it; otherwise its safetensors, or its only `.gguf` file.
    #[arg(long, env = "AMPD_MODEL_FILE")]
    file: Option<String>,
    /// The folder, which then holds the model and nothing else that would be loaded.
    #[arg(long, env = "AMPD_MODEL_INTO")]
    into: PathBuf,
    /// The hub's address; Hugging Face's own when it is absent or empty.
    #[arg(long, env = "HF_ENDPOINT", default_value = "")]
    endpoint: String,
    /// File with the token for private and gated models; `HF_TOKEN` otherwise.
    #[arg(long, env = "AMPD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long another process that works on the folder is waited for.
    #[arg(long, env = "AMPD_WAIT", default_value = "1h", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Longest silence of the hub.
    #[arg(long, env = "AMPD_SILENCE", default_value = "1m", value_parser = humantime::parse_duration)]
    silence: Duration,
    /// Tries of one request that bring nothing, until it is given up.
    #[arg(long, env = "AMPD_ATTEMPTS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Form of the log: human or json.
    #[arg(long, env = "AMPD_LOG_FORMAT", default_value = "human")]
    log_format: ampd_telemetry::logging::Format,
    /// What is logged, as `tracing` filters are written.
    #[arg(long, env = "AMPD_LOG_FILTER", default_value = "info")]
    log_filter: String,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("--repo, --revision and --file")]
    Name(#[from] BadName),
    #[error("--endpoint and the token")]
    Setting(#[from] BadSetting),
    #[error("cannot read --token-file {}: is the token's Secret mounted there?", path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the process cannot be set up")]
    Process(#[source] std::io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("stopped by a signal before the model was complete; what has arrived is kept for the next start")]
    Stopped,
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Name(_) | Self::Setting(_) => exit::USAGE,
            Self::TokenFile { .. } => exit::CONFIG,
            Self::Process(_) => exit::UNAVAILABLE,
            Self::Fetch(error) if error.is_passing() => exit::UNAVAILABLE,
            Self::Fetch(_) => exit::CONFIG,
            Self::Stopped => exit::STOPPED,
        }
    }
}

/// Fetches a model; see [`exit`] for the codes. The last line of the log is the whole reason of a failure.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    if let Err(error) = ampd_telemetry::logging::init(args.log_format, &args.log_filter) {
        // There is no log to write it to, and standard error may be closed.
        let _ = writeln!(std::io::stderr(), "ampd-model: {}", chain(&error));
        return ExitCode::from(exit::USAGE);
    }
    let outcome = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(args));
            // A write that hangs must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Error::Process(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(args: Args) -> Result<(), Error> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone()).map_err(Error::Process)?;
    let wanted =
        Wanted::new(&args.repo, &args.revision, args.file.as_deref().filter(|file| !file.is_empty()))?;
    let mut settings = Settings::new(ampd_models::endpoint(&args.endpoint)?, token(args.token_file)?);
    (settings.lock_wait, settings.silence, settings.attempts) = (args.wait, args.silence, args.attempts);
    let log = Log::default();
    let fetched = tokio::select! {
        fetched = ampd_models::fetch(&wanted, &args.into, &settings, &log) => fetched?,
        () = shutdown.cancelled() => return Err(Error::Stopped),
    };
    tracing::info!(path = %fetched.path.display(), commit = fetched.commit, "the model is complete");
    Ok(())
}

/// The token of the file, or of `HF_TOKEN`. An empty variable is none, as one of an optional Secret's.
fn token(file: Option<PathBuf>) -> Result<Option<Token>, Error> {
    let text = match file {
        Some(path) => {
            Some(std::fs::read_to_string(&path).map_err(|source| Error::TokenFile { path, source })?)
        }
        None => std::env::var("HF_TOKEN").ok().filter(|text| !text.trim().is_empty()),
    };
    Ok(text.map(|text| Token::new(&text)).transpose()?)
}

/// Tells in log lines what happens.
#[derive(Default)]
struct Log {
    pace: Mutex<Pace>,
}

impl Report for Log {
    fn say(&self, note: &Note<'_>) {
        if note.is_warning() {
            tracing::warn!("{note}");
        } else {
            tracing::info!("{note}");
        }
    }

    fn moved(&self, progress: Progress<'_>) {
        let Some(line) = self.pace.lock().look(Instant::now(), progress) else { return };
        let Progress { file, bytes, of } = progress;
        let left = line.left.map(|left| Duration::from_secs(left.as_secs()));
        tracing::info!(
            file,
            bytes,
            of,
            percent = bytes.saturating_mul(100) / of.max(1),
            mb_per_s = format!("{:.1}", line.rate / 1e6),
            left = left.map(|left| humantime::format_duration(left).to_string()),
            "fetching"
        );
    }
}

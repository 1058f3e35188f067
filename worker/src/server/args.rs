//! The command line of `ampd-worker`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ampd_engine::BackendKind;
use ampd_scheduler::{PolicyKind, Slo};

use crate::policies::policy_parser;
use crate::protocol::Role;

/// How long a step with prompts should take at most, where nobody says.
pub const MAX_STEP: Duration = Duration::from_millis(250);

/// Runs an engine worker: a prefill worker computes KV for others, a decode worker owns sessions and decodes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What the worker is for.
    #[arg(long, env = "AMPD_ROLE")]
    pub role: Role,
    /// Its name, unique within the service.
    #[arg(long, env = "AMPD_NAME")]
    pub name: String,
    /// The service's namespace.
    #[arg(long, env = "AMPD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// The service's name.
    #[arg(long, env = "AMPD_SERVICE")]
    pub service: String,
    /// The model: a GGUF file, or a folder in Hugging Face's layout.
    #[arg(long, env = "AMPD_MODEL")]
    pub model: PathBuf,
    /// Where the control API and the metrics listen.
    #[arg(long, env = "AMPD_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where a decode worker moves KV.
    #[arg(long, env = "AMPD_KV_LISTEN", default_value = "127.0.0.1:0")]
    pub kv_listen: SocketAddr,
    /// How other workers reach --kv-listen, HOST:PORT; by default its bound address, unless that is a placeholder for
    /// all addresses.
    #[arg(long, env = "AMPD_KV_ADVERTISE")]
    pub kv_advertise: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem of this role; read again when they change.
    #[arg(long, env = "AMPD_TLS_DIR")]
    pub tls_dir: PathBuf,
    /// Measured performance model; without it a coarse guess is used and corrected while it runs.
    #[arg(long, env = "AMPD_PROFILE")]
    pub profile: Option<PathBuf>,
    /// Compute threads; by default one for each CPU. The tensor backend takes `RAYON_NUM_THREADS` instead.
    #[arg(long, env = "AMPD_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Blocks of the KV pool, 32 tokens each.
    #[arg(long, env = "AMPD_KV_BLOCKS", conflicts_with = "kv_memory", value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_blocks: Option<u32>,
    /// Size of the KV pool: bytes, or a number with KiB, MiB or GiB; 512MiB by default.
    #[arg(long, env = "AMPD_KV_MEMORY", value_parser = parse_bytes)]
    pub kv_memory: Option<u64>,
    /// Caps the model's context, tokens.
    #[arg(long, env = "AMPD_MAX_CONTEXT", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_context: Option<u32>,
    /// Most new tokens in one step.
    #[arg(long, env = "AMPD_TOKEN_BUDGET", default_value = "512", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub token_budget: u32,
    /// Most prompt tokens of one round in one step.
    #[arg(long, env = "AMPD_PREFILL_CHUNK", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefill_chunk: u32,
    /// Longest time that a step with prompts should take: by the performance model, fewer prompt tokens go into a step
    /// than the two limits above allow. Calls wait for the end of a step.
    #[arg(long, env = "AMPD_MAX_STEP", default_value = "250ms", value_parser = humantime::parse_duration)]
    pub max_step: Duration,
    /// Compute backend: cpu or tensor.
    #[arg(long, env = "AMPD_BACKEND", default_value = "cpu")]
    pub backend: BackendKind,
    /// How long an idle session keeps its KV.
    #[arg(long, env = "AMPD_SESSION_TTL", default_value = "30m", value_parser = humantime::parse_duration)]
    pub session_ttl: Duration,
    /// Width of the windowed means of TTFT and ITL, which routing goes by.
    #[arg(long, env = "AMPD_WINDOW", default_value = "10s", value_parser = parse_window)]
    pub window: Duration,
    /// The service's routing policy. Under ampd a decode worker decides at each step how many tokens of its prefills the
    /// step takes in, by the two objectives and in place of --prefill-chunk, and a prefill worker's queue goes by slack.
    #[arg(long, env = "AMPD_POLICY", value_parser = policy_parser(), default_value_t = PolicyKind::default())]
    pub policy: PolicyKind,
    /// Objective of the time to first token, from a round's arrival.
    #[arg(long, env = "AMPD_SLO_TTFT", default_value = "2s", value_parser = parse_objective)]
    pub slo_ttft: Duration,
    /// Objective of the mean time between tokens of a round.
    #[arg(long, env = "AMPD_SLO_ITL", default_value = "100ms", value_parser = parse_objective)]
    pub slo_itl: Duration,
    /// Queued prefills that are looked at for a better order, under other policies than ampd.
    #[arg(long, env = "AMPD_LOOKAHEAD", default_value = "3", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub lookahead: u8,
    /// How often a queued prefill may be overtaken, likewise.
    #[arg(long, env = "AMPD_POSTPONEMENT_CAP", default_value = "3")]
    pub postponement_cap: u32,
    /// How long running rounds may go on after SIGTERM.
    #[arg(long, env = "AMPD_GRACE", default_value = "30s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Ends when the parent process ends; standard input is a pipe that it holds.
    #[arg(long, env = "AMPD_DIE_WITH_PARENT")]
    pub die_with_parent: bool,
    /// Form of the log: human or json.
    #[arg(long, env = "AMPD_LOG_FORMAT", default_value = "human")]
    pub log_format: ampd_telemetry::logging::Format,
    /// What is logged, such as `info` or `ampd_worker=debug,warn`.
    #[arg(long, env = "AMPD_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

impl Args {
    /// The objectives.
    pub(super) fn slo(&self) -> Slo {
        Slo { ttft_s: self.slo_ttft.as_secs_f64(), itl_s: self.slo_itl.as_secs_f64() }
    }
}

/// Longest window or objective.
const LONGEST: Duration = Duration::from_hours(24 * 7);

/// Reads an objective: nothing takes no time.
fn parse_objective(text: &str) -> Result<Duration, String> {
    parse_window(text)
}

/// Reads the width of a window: a mean over no time has no samples.
fn parse_window(text: &str) -> Result<Duration, String> {
    let window = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if window.is_zero() || window > LONGEST {
        return Err("it is not above 0 and at most 7 days".to_owned());
    }
    Ok(window)
}

/// Reads a size such as `1048576`, `512MiB` or `2GiB`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?} (KiB, MiB or GiB)")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| format!("{digits:?} is not a whole number"))?;
    number.checked_mul(unit).ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("77"), Ok(77));
        for bad in ["", "MiB", "-1", "1.5GiB", "5MB", "99999999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_are_read_and_checked() {
        use clap::Parser;
        let base = [
            "ampd-worker",
            "--role",
            "decode",
            "--name",
            "decode-0",
            "--service",
            "chat",
            "--model",
            "m.gguf",
            "--tls-dir",
            "tls",
        ];
        let parse = |more: &[&str]| Cli::try_parse_from(base.iter().chain(more)).map(|cli| cli.args);
        let args = parse(&["--kv-memory", "64MiB", "--grace", "5s", "--backend", "tensor"]).unwrap();
        assert_eq!(args.kv_memory, Some(64 << 20));
        assert_eq!(args.grace, Duration::from_secs(5));
        assert_eq!(args.backend, BackendKind::Tensor);
        assert_eq!(args.max_step, MAX_STEP);
        assert_eq!((args.window, args.session_ttl), (Duration::from_secs(10), Duration::from_mins(30)));
        assert_eq!(parse(&["--window", "1m30s"]).unwrap().window, Duration::from_secs(90));
        for bad in [
            &["--kv-memory", "64MiB", "--kv-blocks", "3"][..],
            &["--lookahead", "6"],
            &["--threads", "0"],
            &["--listen", "localhost"],
            &["--grace", "soon"],
            &["--window", "0s"],
            &["--window", "8days"],
            &["--token-budget", "65537"],
            &["--policy", "best"],
            &["--slo-itl", "0ms"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

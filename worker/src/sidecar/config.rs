//! The checked form of the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ampd_scheduler::{Binding, Overload, PolicyConfig, PolicyKind, SignalAges, Slo};
use http::HeaderName;
use reqwest::Url;

use super::args::{Args, OnRemoteFailure, SignalSource};
use super::auth::Keys;
use super::error::StartError;
use crate::http::require_tls;
use crate::topology::Services;

/// Longest of any duration that a flag gives.
const LONGEST: Duration = Duration::from_hours(24 * 7);

/// What a sidecar does, beyond addresses and files.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Namespace and name.
    pub service: String,
    /// Where it is told who belongs to the service.
    pub workers: Workers,
    pub slo: Slo,
    pub policy: PolicyConfig,
    /// How sessions are bound.
    pub binding: Binding,
    /// Whether a session's next round may be opened on another decode worker than its last.
    pub moving: bool,
    pub overload: Overload,
    pub ages: SignalAges,
    pub signals: Signals,
    pub session_headers: Vec<HeaderName>,
    pub session_ttl_s: f64,
    pub on_remote_failure: OnRemoteFailure,
    pub keys: Keys,
    pub max_inflight: usize,
    pub grace: Duration,
}

/// Who tells the service's workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Workers {
    /// A file.
    File(PathBuf),
    /// The API server.
    Services(Services),
}

/// Where signals come from.
#[derive(Debug, Clone)]
pub(super) enum Signals {
    /// The workers.
    Direct,
    /// A Prometheus server.
    Prometheus(Url),
}

impl Config {
    /// Checks the flags and reads the small files.
    pub(super) fn new(args: &Args) -> Result<Self, StartError> {
        let slo = Slo {
            ttft_s: positive("--slo-ttft", args.slo_ttft)?,
            itl_s: positive("--slo-itl", args.slo_itl)?,
        };
        let policy = PolicyConfig {
            policy: args.policy,
            alpha: args.alpha,
            beta: args.beta,
            min_remote_tokens: args.min_remote_tokens,
        };
        policy.build()?;
        let window_s = positive("--window", args.window)?;
        let ages = SignalAges::default();
        if !(1..=65_536).contains(&args.max_inflight) {
            return Err(bad("--max-inflight", format!("{} is not 1 to 65536", args.max_inflight)));
        }
        let keys = args.api_keys_file.as_deref().map(Keys::load).transpose()?;
        let open = keys.is_some() || args.allow_anonymous;
        require_tls(
            "--listen",
            args.listen,
            open,
            "--api-keys-file, or --allow-anonymous to let everybody in",
        )?;
        require_tls("--internal-listen", args.internal_listen, args.tls_dir.is_some(), "--tls-dir")?;
        Ok(Self {
            service: format!("{}/{}", args.namespace, args.service),
            workers: workers(args)?,
            slo,
            policy,
            // As published; all others balance the sessions that are alive.
            binding: if args.policy == PolicyKind::Paper { Binding::FreeMemory } else { Binding::Load },
            // The other policies leave sessions where they are bound.
            moving: args.policy == PolicyKind::Ampd,
            overload: args.overload.into(),
            ages: SignalAges { held_s: window_s.max(ages.fresh_s), ..ages },
            signals: signals(args)?,
            session_headers: session_headers(&args.session_header)?,
            session_ttl_s: positive("--session-ttl", args.session_ttl)?,
            on_remote_failure: args.on_remote_failure,
            keys: keys.unwrap_or_default(),
            max_inflight: args.max_inflight,
            grace: args.grace.min(LONGEST),
        })
    }
}

fn bad(flag: &'static str, what: impl Into<String>) -> StartError {
    StartError::Flag { flag, what: what.into() }
}

fn positive(flag: &'static str, duration: Duration) -> Result<f64, StartError> {
    if duration.is_zero() || duration > LONGEST {
        return Err(bad(
            flag,
            format!("{} is not above 0 and at most 7 days", humantime::format_duration(duration)),
        ));
    }
    Ok(duration.as_secs_f64())
}

fn workers(args: &Args) -> Result<Workers, StartError> {
    match (&args.topology, &args.decode_service, &args.prefill_service) {
        (Some(file), None, None) => Ok(Workers::File(file.clone())),
        (None, Some(decode), Some(prefill)) => {
            if args.tls_dir.is_none() {
                return Err(bad(
                    "--tls-dir",
                    "is needed with --decode-service: workers elsewhere speak TLS only",
                ));
            }
            for (flag, name) in [("--decode-service", decode), ("--prefill-service", prefill)] {
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                if name.is_empty() || name.len() > 63 || !name.chars().all(allowed) {
                    return Err(bad(flag, format!("{name:?} is not the name of a Service")));
                }
            }
            Ok(Workers::Services(Services {
                namespace: args.namespace.clone(),
                service: args.service.clone(),
                decode: decode.clone(),
                prefill: prefill.clone(),
            }))
        }
        _ => {
            let what = "is needed, or --decode-service and --prefill-service instead of it";
            Err(bad("--topology", what))
        }
    }
}

fn signals(args: &Args) -> Result<Signals, StartError> {
    const FLAG: &str = "--prometheus-url";
    match (args.signals, &args.prometheus_url) {
        (SignalSource::Direct, _) => Ok(Signals::Direct),
        (SignalSource::Prometheus, None) => Err(bad(FLAG, "is needed with --signals prometheus")),
        (SignalSource::Prometheus, Some(url)) => match Url::parse(url) {
            Ok(url) if url.scheme() == "http" && url.has_host() => Ok(Signals::Prometheus(url)),
            Ok(_) => Err(bad(FLAG, format!("{url:?} is not an http address"))),
            Err(error) => Err(bad(FLAG, format!("{url:?}: {error}"))),
        },
    }
}

fn session_headers(names: &[String]) -> Result<Vec<HeaderName>, StartError> {
    const FLAG: &str = "--session-header";
    if names.len() > 16 {
        return Err(bad(FLAG, "16 headers at most"));
    }
    let parse =
        |name: &String| name.parse::<HeaderName>().map_err(|error| bad(FLAG, format!("{name:?}: {error}")));
    names.iter().map(parse).collect()
}

/// What all sidecars of a service know and nobody else needs: a secret of its own, or else its authority's certificate;
/// and its name.
pub(super) fn secret(args: &Args) -> Result<Vec<u8>, StartError> {
    const FLAG: &str = "--session-secret-file";
    let mut secret = format!("{}/{}\n", args.namespace, args.service).into_bytes();
    if let Some(file) = &args.session_secret_file {
        let given = read(FLAG, file)?;
        if !(16..=4096).contains(&given.len()) {
            let what = format!("{} has {} bytes, not 16 to 4096", file.display(), given.len());
            return Err(bad(FLAG, what));
        }
        secret.extend(given);
    } else if let Some(folder) = &args.tls_dir {
        secret.extend(read("--tls-dir", &folder.join("ca.pem"))?);
    }
    Ok(secret)
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::Read { flag, path: path.into(), source })
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a helper's failure is the test's")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn config(flags: &[&str]) -> Result<Config, StartError> {
        let needed =
            ["x", "--name=d0", "--namespace=n", "--service=s", "--topology=t", "--model=m", "--model-name=m"];
        Config::new(&Cli::parse_from(needed.iter().chain(flags)).args)
    }

    #[test]
    fn flags_at_fault_are_named() {
        assert!(config(&[]).is_ok());
        for (flags, named) in [
            (&["--slo-ttft=0s"][..], "--slo-ttft"),
            (&["--max-inflight=0"], "--max-inflight"),
            (&["--signals=prometheus"], "--prometheus-url"),
            (&["--signals=prometheus", "--prometheus-url=ftp://x"], "--prometheus-url"),
            (&["--session-header=a b"], "--session-header"),
            (&["--listen=0.0.0.0:80"], "--api-keys-file, or --allow-anonymous"),
            (&["--internal-listen=0.0.0.0:80"], "--internal-listen"),
            (&["--api-keys-file=/nowhere"], "--api-keys-file"),
        ] {
            let error = config(flags).unwrap_err().to_string();
            assert!(error.contains(named), "{error} should name {named}");
        }
        let unknown = Cli::try_parse_from(["x", "--policy=best"]).unwrap_err().to_string();
        assert!(unknown.contains("dynamo_conditional"), "{unknown} should name all policies");
        assert_eq!(config(&["--policy=ppd"]).unwrap().policy.policy, PolicyKind::Ppd);
        assert!(matches!(config(&["--alpha=-1"]), Err(StartError::Policy(_))));
        assert!(config(&["--listen=0.0.0.0:80", "--allow-anonymous"]).is_ok());
        let both = ["x", "--api-keys-file=k", "--allow-anonymous"];
        assert!(Cli::try_parse_from(both).unwrap_err().to_string().contains("cannot be used with"));
    }

    #[test]
    fn workers_are_told_in_exactly_one_way() {
        let workers = |flags: &[&str]| {
            let needed = ["x", "--name=d0", "--namespace=n", "--service=s", "--model=m", "--model-name=m"];
            Config::new(&Cli::parse_from(needed.iter().chain(flags)).args).map(|config| config.workers)
        };
        let services = ["--decode-service=s-decode", "--prefill-service=s-prefill"];
        assert_eq!(workers(&["--topology=t"]).unwrap(), Workers::File("t".into()));
        let protected = workers(&[services[0], services[1], "--tls-dir=tls"]);
        let Workers::Services(found) = protected.unwrap() else { panic!("no Services") };
        assert_eq!((found.namespace.as_str(), found.service.as_str()), ("n", "s"));
        assert_eq!((found.decode.as_str(), found.prefill.as_str()), ("s-decode", "s-prefill"));
        for flags in [&[][..], &services[..1], &services[1..], &["--topology=t", services[0], services[1]]] {
            let error = workers(flags).unwrap_err().to_string();
            for flag in ["--topology", "--decode-service", "--prefill-service"] {
                assert!(error.contains(flag), "{error} should name {flag}");
            }
        }
        assert!(workers(&services).unwrap_err().to_string().contains("--tls-dir"));
        let error =
            workers(&[services[0], "--prefill-service=a,b", "--tls-dir=tls"]).unwrap_err().to_string();
        assert!(error.contains("--prefill-service"), "{error}");
    }

    #[test]
    fn a_secret_of_its_own_outlives_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let (file, ca) = (dir.path().join("secret"), dir.path().join("ca.pem"));
        let of = |flags: &[String]| {
            let needed = ["x", "--name=d0", "--namespace=n", "--service=s", "--model=m", "--model-name=m"];
            let flags = needed.iter().map(ToString::to_string).chain(flags.iter().cloned());
            secret(&Cli::parse_from(flags).args)
        };
        let tls = format!("--tls-dir={}", dir.path().display());
        let flags = [tls.clone(), format!("--session-secret-file={}", file.display())];
        let both = |certificate: &str| {
            std::fs::write(&ca, certificate).unwrap();
            (of(&flags), of(std::slice::from_ref(&tls)).unwrap())
        };
        std::fs::write(&file, "fifteen bytes..").unwrap();
        assert!(both("old").0.unwrap_err().to_string().contains("--session-secret-file"));
        std::fs::write(&file, "sixteen bytes...").unwrap();
        let ((first, old), (second, new)) = (both("old"), both("new"));
        assert_eq!(first.unwrap(), second.unwrap());
        assert_ne!(old, new);
        std::fs::remove_file(&file).unwrap();
        assert!(of(&flags).is_err());
    }

    #[test]
    fn session_headers_have_defaults() {
        let names: Vec<_> = config(&[]).unwrap().session_headers;
        assert_eq!(names, ["x-session-id", "x-dynamo-session-id"]);
        assert_eq!(config(&["--session-header=x-a,x-b"]).unwrap().session_headers, ["x-a", "x-b"]);
    }
}

//! The command lines of workers and sidecars.

use std::ffi::OsString;
use std::time::Duration;

use ampd_api::Service;

use crate::Role;

/// Where a worker runs, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerPlace {
    /// Its name.
    pub name: OsString,
    /// Address of the control API.
    pub listen: OsString,
    /// Address of the KV transfer, of a decode worker.
    pub kv_listen: Option<OsString>,
    /// How others reach that, where it is not the address itself.
    pub kv_advertise: Option<OsString>,
    /// The model's file or folder.
    pub model: OsString,
    /// Folder of the certificate.
    pub tls_dir: OsString,
    /// The performance model's file.
    pub profile: Option<OsString>,
    /// Compute threads; the program's own default where it is `None`.
    pub threads: Option<usize>,
    /// KV pool, bytes; likewise.
    pub kv_memory: Option<u64>,
    /// Compute backend; likewise.
    pub backend: Option<String>,
    /// What every process has.
    pub process: Process,
}

/// Where a sidecar runs, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarPlace {
    /// The name of its decode worker.
    pub name: OsString,
    /// Address of the `OpenAI` API.
    pub listen: OsString,
    /// Address for the other sidecars, probes and metrics.
    pub internal_listen: OsString,
    /// How it finds the other members.
    pub discovery: Discovery,
    /// The model's file or folder.
    pub model: OsString,
    /// Folder of the certificate.
    pub tls_dir: OsString,
    /// The performance model's file.
    pub profile: Option<OsString>,
    /// Who may use the API beyond loopback.
    pub access: Access,
    /// What every process has.
    pub process: Process,
}

/// How a sidecar finds the other members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// By a file.
    File(OsString),
    /// By the EndpointSlices of two headless Services.
    Services {
        /// Of the decode pods.
        decode: String,
        /// Of the prefill pods.
        prefill: String,
    },
}

/// Who may use the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody on this machine.
    Loopback,
    /// Who has a key.
    Keys {
        /// The file of keys.
        file: OsString,
        /// The file of the secret with which names of sessions are hashed.
        sessions: OsString,
    },
    /// Everybody.
    Anonymous {
        /// The file of the secret with which names of sessions are hashed.
        sessions: OsString,
    },
}

/// What every process has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Time to finish at the end.
    pub grace: Duration,
    /// Form of the log: human or json.
    pub log_format: String,
    /// What is logged.
    pub log_filter: String,
    /// Whether it ends with its parent.
    pub die_with_parent: bool,
}

/// Collects `--flag value` pairs.
#[derive(Debug, Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn add(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(format!("--{flag}").into());
        self.0.push(value.into());
    }

    fn some<T: Into<OsString>>(&mut self, flag: &str, value: Option<T>) {
        if let Some(value) = value {
            self.add(flag, value);
        }
    }

    fn duration(&mut self, flag: &str, value: Duration) {
        self.add(flag, humantime::format_duration(value).to_string().replace(' ', ""));
    }

    /// What workers and sidecars share.
    fn common(service: &Service, model: &OsString, tls_dir: &OsString, profile: Option<&OsString>) -> Self {
        let mut flags = Self::default();
        flags.add("namespace", &service.namespace);
        flags.add("service", &service.name);
        flags.add("model", model);
        flags.some("max-context", service.model.max_context_tokens.map(|tokens| tokens.to_string()));
        flags.add("tls-dir", tls_dir);
        flags.some("profile", profile);
        flags.duration("session-ttl", service.session_ttl);
        flags
    }

    fn end(mut self, process: &Process) -> Vec<OsString> {
        self.duration("grace", process.grace);
        self.add("log-format", &process.log_format);
        self.add("log-filter", &process.log_filter);
        if process.die_with_parent {
            self.0.push("--die-with-parent".into());
        }
        self.0
    }
}

/// The command line of a worker, without the program.
#[must_use]
pub fn worker(service: &Service, role: Role, place: &WorkerPlace) -> Vec<OsString> {
    let WorkerPlace { model, tls_dir, profile, process, .. } = place;
    let settings = role.of(service);
    let mut flags = Flags::common(service, model, tls_dir, profile.as_ref());
    flags.add("role", role.as_str());
    flags.add("name", &place.name);
    flags.add("listen", &place.listen);
    flags.some("kv-listen", place.kv_listen.as_ref());
    flags.some("kv-advertise", place.kv_advertise.as_ref());
    flags.some("threads", place.threads.map(|threads| threads.to_string()));
    flags.some("kv-memory", place.kv_memory.map(|bytes| bytes.to_string()));
    flags.add("token-budget", settings.token_budget.to_string());
    flags.add("prefill-chunk", settings.prefill_chunk.to_string());
    flags.some("backend", place.backend.as_ref());
    flags.add("policy", service.routing.policy.as_str());
    flags.duration("slo-ttft", service.slo.ttft);
    flags.duration("slo-itl", service.slo.itl);
    flags.add("lookahead", service.routing.lookahead.to_string());
    flags.add("postponement-cap", service.routing.postponement_cap.to_string());
    flags.duration("window", service.routing.window);
    flags.end(process)
}

/// The command line of a sidecar, without the program.
#[must_use]
pub fn sidecar(service: &Service, place: &SidecarPlace) -> Vec<OsString> {
    let SidecarPlace { model, tls_dir, profile, process, .. } = place;
    let mut flags = Flags::common(service, model, tls_dir, profile.as_ref());
    flags.add("name", &place.name);
    match &place.discovery {
        Discovery::File(file) => flags.add("topology", file),
        Discovery::Services { decode, prefill } => {
            flags.add("decode-service", decode);
            flags.add("prefill-service", prefill);
        }
    }
    match &place.access {
        Access::Loopback => {}
        Access::Keys { file, sessions } => {
            flags.add("api-keys-file", file);
            flags.add("session-secret-file", sessions);
        }
        Access::Anonymous { sessions } => {
            flags.0.push("--allow-anonymous".into());
            flags.add("session-secret-file", sessions);
        }
    }
    flags.add("model-name", &service.model.name);
    for alias in &service.model.aliases {
        flags.add("model-alias", alias);
    }
    flags.add("listen", &place.listen);
    flags.add("internal-listen", &place.internal_listen);
    flags.duration("slo-ttft", service.slo.ttft);
    flags.duration("slo-itl", service.slo.itl);
    let routing = &service.routing;
    flags.add("policy", routing.policy.as_str());
    flags.add("alpha", routing.alpha.to_string());
    flags.add("beta", routing.beta.to_string());
    flags.add("min-remote-tokens", routing.min_remote_tokens.to_string());
    flags.duration("window", routing.window);
    flags.add("overload", routing.overload.as_str());
    flags.add("on-remote-failure", routing.on_remote_failure.as_str());
    flags.add("signals", routing.signals.as_str());
    flags.some("prometheus-url", routing.prometheus_url.as_ref());
    for header in &service.session_headers {
        flags.add("session-header", header);
    }
    flags.end(process)
}

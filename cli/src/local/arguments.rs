//! The command lines of the children.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::members::{Kind, Member};
use super::plan::Plan;

/// What all children share besides the plan.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The plan.
    pub(crate) plan: Plan,
    /// The topology file.
    pub(crate) topology: PathBuf,
    /// Folder with one folder of certificates for each role.
    pub(crate) certificates: PathBuf,
    /// Performance models by number of threads.
    pub(crate) profiles: BTreeMap<usize, PathBuf>,
}

/// Collects `--flag value` pairs.
#[derive(Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn add(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(format!("--{flag}").into());
        self.0.push(value.into());
    }

    fn some<T: ToString>(&mut self, flag: &str, value: Option<T>) {
        if let Some(value) = value {
            self.add(flag, value.to_string());
        }
    }

    fn duration(&mut self, flag: &str, value: Duration) {
        self.add(flag, humantime::format_duration(value).to_string().replace(' ', ""));
    }
}

impl Shared {
    /// The arguments of one child, the subcommand first.
    pub(crate) fn of(&self, member: &Member) -> Vec<OsString> {
        let mut flags = Flags::default();
        let plan = &self.plan;
        flags.0.push(if member.kind == Kind::Sidecar { "sidecar" } else { "worker" }.into());
        flags.add("namespace", &plan.namespace);
        flags.add("service", &plan.service);
        flags.add("model", plan.model.as_os_str());
        flags.some("max-context", plan.max_context);
        flags.add("tls-dir", certificate_folder(&self.certificates, member.kind));
        if let Some(profile) = self.profiles.get(&self.threads(member)) {
            flags.add("profile", profile);
        }
        if let Some(ttl) = plan.session_ttl {
            flags.duration("session-ttl", ttl);
        }
        match member.kind {
            Kind::Sidecar => self.sidecar(member, &mut flags),
            Kind::Prefill | Kind::Decode => self.worker(member, &mut flags),
        }
        flags.duration("grace", plan.grace);
        flags.add("log-format", "human");
        flags.add("log-filter", &plan.log_filter);
        flags.0.push("--die-with-parent".into());
        flags.0
    }

    /// Threads of a worker; of a sidecar those of its decode worker.
    fn threads(&self, member: &Member) -> usize {
        let threads = match member.kind {
            Kind::Prefill => &self.plan.prefill_threads,
            Kind::Decode | Kind::Sidecar => &self.plan.decode_threads,
        };
        threads.get(member.index).copied().unwrap_or(1)
    }

    fn worker(&self, member: &Member, flags: &mut Flags) {
        let plan = &self.plan;
        flags.add("role", member.kind.as_str());
        flags.add("name", &member.name);
        flags.add("listen", member.control.to_string());
        if member.kind == Kind::Decode {
            flags.some("kv-listen", member.second);
        }
        flags.add("threads", self.threads(member).to_string());
        flags.add("kv-memory", plan.kv_memory.to_string());
        flags.add("backend", &plan.backend);
        flags.some("lookahead", plan.routing.lookahead);
        flags.some("postponement-cap", plan.routing.postponement_cap);
    }

    fn sidecar(&self, member: &Member, flags: &mut Flags) {
        let plan = &self.plan;
        // A sidecar goes by the name of its decode worker.
        flags.add("name", format!("{}-{}", Kind::Decode.as_str(), member.index));
        flags.add("topology", &self.topology);
        flags.add("model-name", &plan.model_name);
        flags.some("listen", member.second);
        flags.add("internal-listen", member.control.to_string());
        flags.duration("slo-ttft", plan.slo_ttft);
        flags.duration("slo-itl", plan.slo_itl);
        flags.add("policy", &plan.routing.policy);
        flags.some("alpha", plan.routing.alpha);
        flags.some("beta", plan.routing.beta);
        flags.some("min-remote-tokens", plan.routing.min_remote_tokens);
        if let Some(window) = plan.routing.window {
            flags.duration("window", window);
        }
        flags.some("on-remote-failure", plan.routing.on_remote_failure.as_deref());
        for header in &plan.session_headers {
            flags.add("session-header", header);
        }
    }
}

/// The folder of one role's certificate.
pub(crate) fn certificate_folder(root: &Path, kind: Kind) -> PathBuf {
    root.join(kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::members::Members;
    use crate::local::plan::Routing;

    fn shared(folder: &Path) -> Shared {
        let plan = Plan {
            namespace: "default".into(),
            service: "chat".into(),
            model_name: "smollm2".into(),
            model: "/models/m.gguf".into(),
            max_context: Some(2048),
            slo_ttft: Duration::from_millis(1500),
            slo_itl: Duration::from_millis(100),
            routing: Routing {
                policy: "paper".into(),
                alpha: Some(0.5),
                beta: None,
                min_remote_tokens: Some(16),
                window: Some(Duration::from_secs(10)),
                lookahead: Some(3),
                postponement_cap: None,
                on_remote_failure: Some("local".into()),
            },
            session_headers: vec!["x-session-id".into()],
            session_ttl: Some(Duration::from_mins(10)),
            backend: "cpu".into(),
            kv_memory: 1 << 28,
            grace: Duration::from_secs(8),
            decode_threads: vec![2],
            prefill_threads: vec![1],
            log_filter: "info".into(),
        };
        Shared {
            plan,
            topology: folder.join("topology.json"),
            certificates: folder.join("tls"),
            profiles: BTreeMap::from([(2, "/cache/profile-2.json".into())]),
        }
    }

    #[test]
    fn each_child_gets_what_it_needs_and_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new("default", "chat", (1, 1), folder.path()).unwrap();
        let shared = shared(folder.path());
        let lines: Vec<String> = members.with(|list| {
            let line = |member| {
                let arguments = shared.of(member);
                arguments.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
            };
            list.iter().map(line).collect()
        });
        let [decode, prefill, sidecar] = &lines[..] else { panic!("{lines:?}") };
        assert!(decode.starts_with("worker ") && prefill.starts_with("worker "));
        assert!(
            decode.contains("--role decode --name decode-0") && decode.contains("--kv-listen 127.0.0.1:")
        );
        assert!(decode.contains("--threads 2") && decode.contains("--profile /cache/profile-2.json"));
        assert!(prefill.contains("--threads 1") && !prefill.contains("--kv-listen"));
        assert!(!prefill.contains("--profile"), "there is none for one thread");
        assert!(sidecar.starts_with("sidecar ") && sidecar.contains("--name decode-0"));
        for part in ["--slo-ttft 1s500ms", "--slo-itl 100ms", "--alpha 0.5", "--session-ttl 10m"] {
            assert!(sidecar.contains(part), "{part}: {sidecar}");
        }
        assert!(!sidecar.contains("--beta"));
        assert!(lines.iter().all(|line| line.ends_with("--die-with-parent")));
    }

    /// The command lines are read by the very parsers of the children.
    #[test]
    fn the_children_understand_their_arguments() {
        use clap::Parser as _;
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new("default", "chat", (1, 1), folder.path()).unwrap();
        let shared = shared(folder.path());
        members.with(|list| {
            for member in list {
                let arguments = std::iter::once("ampd".into()).chain(shared.of(member));
                crate::Cli::try_parse_from(arguments).unwrap();
            }
        });
    }
}

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
        flags.add("namespace", &plan.service.namespace);
        flags.add("service", &plan.service.name);
        flags.add("model", plan.model.as_os_str());
        flags.some("max-context", plan.service.model.max_context_tokens);
        flags.add("tls-dir", certificate_folder(&self.certificates, member.kind));
        if let Some(profile) = self.profiles.get(&self.threads(member)) {
            flags.add("profile", profile);
        }
        flags.duration("session-ttl", plan.service.session_ttl);
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
        let workers = match member.kind {
            Kind::Prefill => &self.plan.prefill,
            Kind::Decode | Kind::Sidecar => &self.plan.decode,
        };
        workers.threads.get(member.index).copied().unwrap_or(1)
    }

    fn worker(&self, member: &Member, flags: &mut Flags) {
        let service = &self.plan.service;
        let (role, workers) = match member.kind {
            Kind::Prefill => (&service.prefill, &self.plan.prefill),
            Kind::Decode | Kind::Sidecar => (&service.decode, &self.plan.decode),
        };
        flags.add("role", member.kind.as_str());
        flags.add("name", &member.name);
        flags.add("listen", member.control.to_string());
        if member.kind == Kind::Decode {
            flags.some("kv-listen", member.second);
        }
        flags.add("threads", self.threads(member).to_string());
        flags.add("kv-memory", workers.kv_memory.to_string());
        flags.add("token-budget", role.token_budget.to_string());
        flags.add("prefill-chunk", role.prefill_chunk.to_string());
        flags.add("backend", &self.plan.backend);
        flags.add("lookahead", service.routing.lookahead.to_string());
        flags.add("postponement-cap", service.routing.postponement_cap.to_string());
        flags.duration("window", service.routing.window);
    }

    fn sidecar(&self, member: &Member, flags: &mut Flags) {
        let service = &self.plan.service;
        // A sidecar goes by the name of its decode worker.
        flags.add("name", format!("{}-{}", Kind::Decode.as_str(), member.index));
        flags.add("topology", &self.topology);
        flags.add("model-name", &service.model.name);
        for alias in &service.model.aliases {
            flags.add("model-alias", alias);
        }
        flags.some("listen", member.second);
        flags.add("internal-listen", member.control.to_string());
        flags.duration("slo-ttft", service.slo.ttft);
        flags.duration("slo-itl", service.slo.itl);
        let routing = &service.routing;
        flags.add("policy", routing.policy.as_str());
        flags.add("alpha", routing.alpha.to_string());
        flags.add("beta", routing.beta.to_string());
        flags.add("min-remote-tokens", routing.min_remote_tokens.to_string());
        flags.duration("window", routing.window);
        flags.add("on-remote-failure", routing.on_remote_failure.as_str());
        flags.add("signals", routing.signals.as_str());
        flags.some("prometheus-url", routing.prometheus_url.as_ref());
        for header in &service.session_headers {
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
    use crate::local::plan::Workers;

    fn shared(folder: &Path) -> Shared {
        let mut service = crate::manifest::load(None).unwrap();
        service.slo.ttft = Duration::from_millis(1500);
        service.routing.alpha = 0.5;
        service.session_ttl = Duration::from_mins(10);
        let workers = |threads| Workers { threads: vec![threads], kv_memory: 1 << 28 };
        let plan = Plan {
            service,
            model: "/models/m.gguf".into(),
            backend: "cpu".into(),
            decode: workers(2),
            prefill: workers(1),
            grace: Duration::from_secs(8),
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
        for part in ["--slo-ttft 1s500ms", "--slo-itl 150ms", "--alpha 0.5", "--session-ttl 10m"] {
            assert!(sidecar.contains(part), "{part}: {sidecar}");
        }
        assert!(sidecar.contains("--model-name smollm2-135m-instruct --model-alias smollm2"));
        assert!(decode.contains("--prefill-chunk 64") && prefill.contains("--prefill-chunk 256"));
        assert!(lines.iter().all(|line| line.ends_with("--die-with-parent")));
    }

    #[test]
    fn the_window_is_that_of_the_means_and_of_the_signals() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new("default", "chat", (1, 1), folder.path()).unwrap();
        let mut shared = shared(folder.path());
        shared.plan.service.routing.window = Duration::from_secs(30);
        members.with(|list| {
            for member in list {
                let arguments = shared.of(member);
                let at = arguments.iter().position(|part| part == "--window").unwrap();
                assert_eq!(arguments[at + 1], "30s", "{}", member.name);
            }
        });
    }

    /// Fills in every integer of a schema with its least or its largest value.
    fn extreme(schema: &serde_json::Value, bound: &str) -> Option<serde_json::Value> {
        if schema["type"] == "integer" {
            return Some((schema[bound].as_f64()? as i64).into());
        }
        let fields: serde_json::Map<_, _> = schema["properties"]
            .as_object()?
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), extreme(field, bound)?)))
            .collect();
        Some(fields.into())
    }

    #[test]
    fn the_children_understand_whatever_a_manifest_may_say() {
        use clap::Parser as _;
        use serde_json::json;
        let definition = serde_json::to_value(ampd_api::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for (bound, share, memory, times) in [
            ("minimum", "0", "1Mi", ["1ms", "1ms", "1s", "1s", "1s"]),
            ("maximum", "10.000000", "64Ti", ["1h", "1m", "10m", "168h", "1h"]),
        ] {
            let mut spec = extreme(schema, bound).unwrap();
            spec["model"]["name"] = "m".into();
            spec["model"]["source"] = json!({"path": "/m"});
            spec["accelerator"] = json!({});
            spec["decode"]["replicas"] = json!({});
            for role in ["prefill", "decode"] {
                spec[role]["engine"]["kvCache"] = memory.into();
            }
            spec["routing"]["alpha"] = share.into();
            spec["routing"]["beta"] = share.into();
            let places = ["/slo/ttft", "/slo/itl", "/routing/window", "/sessions/ttl", "/drain/timeout"];
            spec["sessions"] = json!({});
            spec["drain"] = json!({});
            for (place, time) in places.into_iter().zip(times) {
                let (section, field) = place[1..].split_once('/').unwrap();
                spec[section][field] = time.into();
            }
            let manifest = json!({
                "apiVersion": "ampd.dev/v1alpha1", "kind": "AMPDService", "metadata": {"name": "chat"}, "spec": spec,
            });
            let folder = tempfile::tempdir().unwrap();
            let members = Members::new("default", "chat", (1, 1), folder.path()).unwrap();
            let mut shared = shared(folder.path());
            let service = ampd_api::Service::parse(manifest.to_string().as_bytes()).unwrap();
            shared.plan.decode.kv_memory = service.decode.kv_cache.unwrap();
            shared.plan.decode.threads = vec![service.decode.threads.unwrap()];
            shared.plan.grace = service.drain_timeout;
            shared.plan.service = service;
            members.with(|list| {
                for member in list {
                    let arguments = std::iter::once("ampd".into()).chain(shared.of(member));
                    if let Err(error) = crate::Cli::try_parse_from(arguments) {
                        panic!("{bound} for {}: {error}", member.name);
                    }
                }
            });
        }
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

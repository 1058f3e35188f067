//! The command lines of the children: the same that a cluster's pods have, with this machine's places.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ampd_render::Role;
use ampd_render::arguments::{self, Access, Discovery, Process, SidecarPlace, WorkerPlace};

use super::members::{Kind, Member};
use super::plan::{Plan, Workers};

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

impl Shared {
    /// The arguments of one child, the subcommand first.
    pub(crate) fn of(&self, member: &Member) -> Vec<OsString> {
        let (program, arguments) = match member.kind {
            Kind::Sidecar => ("sidecar", arguments::sidecar(&self.plan.service, &self.sidecar(member))),
            Kind::Prefill => ("worker", self.worker(member, Role::Prefill, &self.plan.prefill)),
            Kind::Decode => ("worker", self.worker(member, Role::Decode, &self.plan.decode)),
        };
        std::iter::once(program.into()).chain(arguments).collect()
    }

    /// Threads of a worker; of a sidecar those of its decode worker.
    fn threads(&self, member: &Member) -> usize {
        let workers = match member.kind {
            Kind::Prefill => &self.plan.prefill,
            Kind::Decode | Kind::Sidecar => &self.plan.decode,
        };
        workers.threads.get(member.index).copied().unwrap_or(1)
    }

    fn profile(&self, member: &Member) -> Option<OsString> {
        self.profiles.get(&self.threads(member)).map(|path| path.as_os_str().to_owned())
    }

    fn process(&self) -> Process {
        Process {
            grace: self.plan.grace,
            log_format: "human".into(),
            log_filter: self.plan.log_filter.clone(),
            die_with_parent: true,
        }
    }

    fn worker(&self, member: &Member, role: Role, workers: &Workers) -> Vec<OsString> {
        let address = |address: SocketAddr| OsString::from(address.to_string());
        let place = WorkerPlace {
            name: member.name.clone().into(),
            listen: address(member.control),
            kv_listen: member.second.map(address),
            kv_advertise: None,
            model: self.plan.model.as_os_str().to_owned(),
            tls_dir: certificate_folder(&self.certificates, member.kind).into(),
            profile: self.profile(member),
            threads: Some(self.threads(member)),
            kv_memory: Some(workers.kv_memory),
            backend: Some(self.plan.backend.clone()),
            process: self.process(),
        };
        arguments::worker(&self.plan.service, role, &place)
    }

    fn sidecar(&self, member: &Member) -> SidecarPlace {
        SidecarPlace {
            // A sidecar goes by the name of its decode worker.
            name: format!("{}-{}", Kind::Decode.as_str(), member.index).into(),
            listen: member.second.unwrap_or(member.control).to_string().into(),
            internal_listen: member.control.to_string().into(),
            discovery: Discovery::File(self.topology.as_os_str().to_owned()),
            model: self.plan.model.as_os_str().to_owned(),
            tls_dir: certificate_folder(&self.certificates, member.kind).into(),
            profile: self.profile(member),
            access: Access::Loopback,
            process: self.process(),
        }
    }
}

/// The folder of one role's certificate.
pub(crate) fn certificate_folder(root: &Path, kind: Kind) -> PathBuf {
    root.join(kind.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::local::members::Members;

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
            spec["planner"] = json!({});
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

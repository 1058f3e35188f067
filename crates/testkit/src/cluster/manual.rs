//! A cluster of workers and sidecars started one by one, with a relay before every prefill worker's control API and
//! every decode worker's KV port.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ampd_kv::tls::{CertificateAuthority, Identity, Role as Certified};
use anyhow::Context;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;

use super::{Member, Role, environment};
use crate::ports::free_ports;
use crate::process::{Process, Signal, send};
use crate::relay::Relay;

const NAMESPACE: &str = "tests";
const SERVICE: &str = "whole";
/// How long the certificates are valid: longer than any test.
const VALID: Duration = Duration::from_hours(24);
/// Longest time from the start until everything is ready.
const READY: Duration = Duration::from_mins(2);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct ManualOptions {
    /// Prefill workers.
    pub prefill: usize,
    /// Decode workers, each with a sidecar.
    pub decode: usize,
    /// Further arguments of every worker.
    pub worker_arguments: Vec<String>,
    /// Further arguments of every sidecar.
    pub sidecar_arguments: Vec<String>,
}

/// Running workers and sidecars. Dropping it kills them.
#[derive(Debug)]
pub struct ManualCluster {
    /// All processes with their places.
    pub members: Vec<Member>,
    /// The relay before each prefill worker's control API.
    pub control_relays: Vec<Relay>,
    /// The relay before each decode worker's KV port.
    pub kv_relays: Vec<Relay>,
    processes: Vec<(String, Process)>,
    folder: TempDir,
    _alone: OwnedMutexGuard<()>,
}

impl ManualCluster {
    /// Starts all processes and waits until they are ready.
    ///
    /// # Errors
    /// When one ends or is not ready in time; the error has its output.
    pub async fn start(options: ManualOptions) -> anyhow::Result<Self> {
        let alone = super::local::alone().await;
        let mut cluster = Self {
            members: Vec::new(),
            control_relays: Vec::new(),
            kv_relays: Vec::new(),
            processes: Vec::new(),
            folder: tempfile::tempdir()?,
            _alone: alone,
        };
        cluster.place(&options).await?;
        let authority = CertificateAuthority::new(SERVICE, VALID)?;
        for role in Certified::ALL {
            let folder = cluster.tls_dir(role);
            std::fs::create_dir(&folder)?;
            authority.issue(&Identity::new(NAMESPACE, SERVICE, role)?)?.write(&folder)?;
        }
        let topology = serde_json::to_vec(&cluster.topology())?;
        std::fs::write(cluster.folder.path().join("topology.json"), topology)?;
        for index in 0..cluster.members.len() {
            cluster.launch(index, &options)?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// The folder with the certificate of a role.
    #[must_use]
    pub fn tls_dir(&self, role: Certified) -> PathBuf {
        self.folder.path().join(role.name())
    }

    /// Chooses ports and starts the relays.
    async fn place(&mut self, options: &ManualOptions) -> anyhow::Result<()> {
        let mut ports = free_ports(options.prefill + 4 * options.decode)?.into_iter();
        let mut port = || ports.next().context("too few ports");
        let member = |name, role| Member {
            name,
            role,
            pid: None,
            control_url: None,
            public_url: None,
            internal_url: None,
            kv_addr: None,
            restarts: 0,
        };
        for index in 0..options.prefill {
            let control = port()?;
            self.control_relays.push(Relay::start(control).await?);
            let control_url = Some(format!("http://{control}"));
            self.members.push(Member { control_url, ..member(format!("prefill-{index}"), Role::Prefill) });
        }
        for index in 0..options.decode {
            let (control, kv) = (port()?, port()?);
            self.kv_relays.push(Relay::start(kv).await?);
            self.members.push(Member {
                control_url: Some(format!("http://{control}")),
                kv_addr: Some(kv.to_string()),
                ..member(format!("decode-{index}"), Role::Decode)
            });
        }
        for index in 0..options.decode {
            self.members.push(Member {
                public_url: Some(format!("http://{}", port()?)),
                internal_url: Some(format!("http://{}", port()?)),
                ..member(format!("sidecar-{index}"), Role::Sidecar)
            });
        }
        Ok(())
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.role == role)
    }

    fn topology(&self) -> serde_json::Value {
        let prefill = self.of(Role::Prefill).zip(&self.control_relays).map(|(member, relay)| {
            json!({"name": member.name, "worker_url": format!("http://{}", relay.address())})
        });
        let pairs = self.of(Role::Decode).zip(self.of(Role::Sidecar)).zip(&self.kv_relays);
        let decode = pairs.map(|((decode, sidecar), relay)| {
            json!({"name": decode.name, "worker_url": decode.control_url, "sidecar_url": sidecar.internal_url,
                   "kv_addr": relay.address().to_string()})
        });
        json!({"service": SERVICE, "namespace": NAMESPACE, "decode": decode.collect::<Vec<_>>(),
               "prefill": prefill.collect::<Vec<_>>()})
    }

    fn launch(&mut self, index: usize, options: &ManualOptions) -> anyhow::Result<()> {
        let member = &self.members[index];
        let mut command = Command::new(environment::binary()?);
        let model = environment::model().context("AMPD_MODEL is not set")?;
        let common =
            ["--namespace", NAMESPACE, "--service", SERVICE, "--die-with-parent", "--log-format", "json"];
        match member.role {
            Role::Prefill | Role::Decode => {
                let (role, tls) = match member.role {
                    Role::Prefill => ("prefill", self.tls_dir(Certified::Prefill)),
                    _ => ("decode", self.tls_dir(Certified::Decode)),
                };
                command.args(["worker", "--role", role, "--name", &member.name]).args(common);
                command.args(["--threads", "1", "--kv-blocks", "1024"]).arg("--tls-dir").arg(tls);
                command.args(["--listen", address(member.control_url.as_deref())?]);
                if let Some(kv) = &member.kv_addr {
                    command.args(["--kv-listen", kv]);
                }
                command.args(&options.worker_arguments);
            }
            Role::Sidecar => {
                let decode = member.name.replace("sidecar", "decode");
                command.args(["sidecar", "--name", &decode]).args(common);
                command.arg("--topology").arg(self.folder.path().join("topology.json"));
                command
                    .args(["--model-name", "smollm2"])
                    .arg("--tls-dir")
                    .arg(self.tls_dir(Certified::Sidecar));
                command.args(["--listen", address(member.public_url.as_deref())?]);
                command.args(["--internal-listen", address(member.internal_url.as_deref())?]);
                command.args(["--slo-ttft", "2s", "--slo-itl", "200ms"]);
                command.args(&options.sidecar_arguments);
            }
        }
        command.arg("--model").arg(model);
        let decode = self.of(Role::Decode).position(|other| other.name == member.name);
        if let Some(relay) = decode.and_then(|index| self.kv_relays.get(index)) {
            command.args(["--kv-advertise", &relay.address().to_string()]);
        }
        let process = Process::start(&member.name, command, self.folder.path())?;
        self.members[index].pid = Some(process.pid());
        self.processes.push((self.members[index].name.clone(), process));
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let http = crate::chat::http()?;
        for member in &self.members {
            let url = format!("{}/readyz", member.admin_url()?);
            let ready = crate::wait::until(&member.name, READY, async || {
                let response = http.get(&url).send().await?;
                let status = response.status();
                anyhow::ensure!(status.is_success(), "{status}: {}", response.text().await?);
                Ok::<_, anyhow::Error>(())
            });
            ready.await.with_context(|| self.output(&member.name))?;
        }
        Ok(())
    }

    /// What a process has written.
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        let found = self.processes.iter().find(|(other, _)| other == name);
        found.map_or_else(String::new, |(_, process)| process.output())
    }

    /// The process of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, name: &str) -> anyhow::Result<&Member> {
        let found = self.members.iter().find(|member| member.name == name);
        found.with_context(|| format!("there is no process {name}"))
    }

    /// Sends a signal to the process of this name; after a KILL it counts as not running.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        let member = member.with_context(|| format!("there is no process {name}"))?;
        send(member.pid.with_context(|| format!("{name} does not run"))?, signal)?;
        if signal == Signal::KILL {
            member.pid = None;
        }
        Ok(())
    }

    /// Waits until the process of this name has ended, and gives its exit code.
    ///
    /// # Errors
    /// When there is none of this name, or it goes on for longer than `limit`.
    pub async fn ended(&mut self, name: &str, limit: Duration) -> anyhow::Result<Option<i32>> {
        let process = self.processes.iter_mut().find(|(other, _)| other == name);
        let status = process.with_context(|| format!("there is no process {name}"))?.1.wait(limit).await?;
        for member in self.members.iter_mut().filter(|member| member.name == name) {
            member.pid = None;
        }
        Ok(status.code())
    }

    /// The sidecars' OpenAI APIs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().filter_map(|member| member.public_url.clone()).collect()
    }
}

impl Drop for ManualCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, process) in &self.processes {
                eprintln!("output of {name}:\n{}", process.output());
            }
        }
    }
}

fn address(url: Option<&str>) -> anyhow::Result<&str> {
    url.and_then(|url| url.strip_prefix("http://")).context("no address")
}

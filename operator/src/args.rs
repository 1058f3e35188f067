//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use ampd_render::Settings;

/// Runs services on Kubernetes: keeps Deployments, Services and whatever else they need as their manifests say.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "ampd-operator", version)]
pub struct Args {
    /// The namespace that the operator runs in, where its Lease is.
    #[arg(long, env = "AMPD_OPERATOR_NAMESPACE", default_value = "ampd-system")]
    pub namespace: String,
    /// This replica's name, unique among them.
    #[arg(long, env = "AMPD_OPERATOR_NAME")]
    pub name: String,
    /// The namespace whose services it runs; all where it is absent.
    #[arg(long, env = "AMPD_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// The image of workers and sidecars, unless a service names its own.
    #[arg(long, env = "AMPD_WORKER_IMAGE", default_value_t = Settings::default().worker_image)]
    pub worker_image: String,
    /// When that image is pulled: Always, `IfNotPresent` or Never.
    #[arg(long, env = "AMPD_WORKER_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub worker_pull_policy: String,
    /// Base address of a mirror of Hugging Face, from which pods fetch models.
    #[arg(long, env = "AMPD_HUB_ENDPOINT")]
    pub hub_endpoint: Option<String>,
    /// The domain of the cluster's names.
    #[arg(long, env = "AMPD_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// How long the certificates of pods are valid; they are renewed at half of that.
    #[arg(long, env = "AMPD_CERTIFICATE_LIFETIME", default_value = "14d", value_parser = parse_lifetime)]
    pub certificate_lifetime: Duration,
    /// Services that are looked at at once.
    #[arg(long, env = "AMPD_CONCURRENCY", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Where /healthz and /readyz are asked.
    #[arg(long, env = "AMPD_HEALTH_LISTEN", default_value = "0.0.0.0:8080")]
    pub health_listen: SocketAddr,
    /// Where /metrics is read; beyond loopback under TLS, by whom the API server lets read it.
    #[arg(long, env = "AMPD_METRICS_LISTEN", default_value = "127.0.0.1:8081")]
    pub metrics_listen: SocketAddr,
    /// Ends at once: with success if an operator works and services would be taken up.
    #[arg(long)]
    pub verify: bool,
    /// Form of the log: human or json.
    #[arg(long, env = "AMPD_LOG_FORMAT", default_value = "json")]
    pub log_format: ampd_telemetry::logging::Format,
    /// What is logged, such as `info` or `ampd_operator=debug,warn`.
    #[arg(long, env = "AMPD_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

/// Shortest life of a certificate: processes look at their files every few seconds, kubelets every minute or so.
const SHORTEST: Duration = Duration::from_mins(10);
/// Longest.
const LONGEST: Duration = Duration::from_hours(24 * 365);

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("it is not from 10 minutes to 365 days".to_owned())
    }
}

impl Args {
    /// What children depend on.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            worker_image: self.worker_image.clone(),
            pull_policy: self.worker_pull_policy.clone(),
            hub_endpoint: self.hub_endpoint.clone(),
            operator_namespace: self.namespace.clone(),
            cluster_domain: self.cluster_domain.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn flags_are_read_and_checked() {
        let parse = |more: &[&str]| Args::try_parse_from(["ampd-operator", "--name", "a"].iter().chain(more));
        let args = parse(&["--certificate-lifetime", "1h", "--concurrency", "2"]).unwrap();
        assert_eq!((args.certificate_lifetime, args.concurrency), (Duration::from_hours(1), 2));
        for bad in
            [["--certificate-lifetime", "1m"], ["--concurrency", "0"], ["--worker-pull-policy", "Often"]]
        {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}

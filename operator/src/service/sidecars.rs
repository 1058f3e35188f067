//! What the operator asks sidecars: what their workers hold, how their clients' rounds did, and to take nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ampd_api::resolved::Slo;
use ampd_kv::tls::{Credentials, Identity, Role as Member, TlsError, TlsFiles};
use ampd_render::{Role, ports};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use reqwest::Method;

use super::drain::{Held, since};
use super::observed::{is_over, is_ready};
use super::slo::Rounds;

/// How long a sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long all of them may take together; what has not come by then is left out.
const TOGETHER: Duration = Duration::from_secs(5);
/// Sidecars asked at once.
const AT_ONCE: usize = 64;
const STATUS: &str = "/internal/v1/status";
const DRAIN: &str = "/internal/v1/drain";

/// Speaks with the sidecars of one service.
pub struct Sidecars {
    http: reqwest::Client,
}

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SidecarsError {
    /// The certificate cannot be used.
    #[error("the operator's certificate cannot be used")]
    Tls(#[from] TlsError),
    /// The HTTP client cannot be made.
    #[error("no HTTP client")]
    Http(#[from] reqwest::Error),
}

/// What sidecars said.
#[derive(Debug, Default)]
pub struct Told {
    /// By pod.
    pub held: BTreeMap<String, Held>,
    /// The rounds that they counted, by pod, with how many seconds back that goes.
    pub rounds: BTreeMap<String, (Rounds, u64)>,
    /// Ready pods that told of rounds.
    pub answered: usize,
}

#[derive(serde::Deserialize)]
struct Status {
    draining: bool,
    open_rounds: u64,
    held_kv_tokens: u64,
    // Sidecars before this version move nothing.
    #[serde(default)]
    moving: bool,
    #[serde(default)]
    sessions_left: u64,
    #[serde(default)]
    sessions_moved: u64,
    // Those count no rounds either.
    attainment: Option<Rounds>,
    #[serde(default)]
    window_s: u64,
    #[serde(default)]
    ttft_s: f64,
    #[serde(default)]
    itl_s: f64,
}

impl Status {
    /// The rounds, if they were measured against these objectives: until a changed one has come through, they were not.
    fn rounds_under(&self, slo: &Slo) -> Option<&Rounds> {
        let same = |told: f64, asked: Duration| (told - asked.as_secs_f64()).abs() < 1e-6;
        self.attainment.as_ref().filter(|_| same(self.ttft_s, slo.ttft) && same(self.itl_s, slo.itl))
    }
}

impl From<&Status> for Held {
    fn from(status: &Status) -> Self {
        Self {
            rounds: status.open_rounds,
            kv_tokens: status.held_kv_tokens,
            // One that was not told yet, or has forgotten, has not begun.
            moving: status.moving || !status.draining,
            left: status.sessions_left,
            moved: status.sessions_moved,
        }
    }
}

impl Sidecars {
    /// With the operator's certificate for this service.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(namespace: &str, service: &str, own: &TlsFiles) -> Result<Self, SidecarsError> {
        let expected = Identity::new(namespace, service, Member::Sidecar).map_err(TlsError::from)?.uri();
        let credentials: Arc<Credentials> = Credentials::new(own)?;
        let tls = credentials.client_config(Some(expected))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .tls_backend_preconfigured(tls)
            .build()?;
        Ok(Self { http })
    }

    /// What the decode pods hold, and how their clients' rounds did that had the objectives `slo`. One that does not answer
    /// is left out.
    pub async fn ask<'a>(&self, pods: impl Iterator<Item = &'a Pod>, slo: &Slo) -> Told {
        let mut pods: Vec<_> = pods.filter(|pod| !is_over(pod)).collect();
        // Somebody waits for those on their way out.
        pods.sort_by_key(|pod| since(pod).is_none());
        let ready: BTreeSet<_> = pods.iter().filter(|pod| is_ready(pod)).map(|pod| pod.name_any()).collect();
        let asked: Vec<_> =
            pods.iter().filter_map(|pod| Some((pod.name_any(), address(pod, STATUS)?))).collect();
        let answers = asked.into_iter().map(|(name, address)| self.ask_one(name, address));
        let answers = futures::stream::iter(answers).buffer_unordered(AT_ONCE);
        let found: Vec<_> = answers.take_until(tokio::time::sleep(TOGETHER)).collect().await;
        let mut told = Told::default();
        for (name, status) in found.into_iter().flatten() {
            if let Some(rounds) = status.rounds_under(slo) {
                told.answered += usize::from(ready.contains(&name));
                told.rounds.insert(name.clone(), (*rounds, status.window_s));
            }
            told.held.insert(name, Held::from(&status));
        }
        told
    }

    async fn ask_one(&self, name: String, address: String) -> Option<(String, Status)> {
        let status = self.http.get(address).send().await.ok()?.json().await.ok()?;
        Some((name, status))
    }

    /// Has pods take nothing new, or take it again. A pod that does not answer is asked again at the next reconcile.
    pub async fn drain(&self, pods: impl Iterator<Item = (&Pod, bool)>) {
        let asked: Vec<_> = pods.filter_map(|(pod, drained)| Some((address(pod, DRAIN)?, drained))).collect();
        let calls = asked.into_iter().map(|(address, drained)| self.tell(address, drained));
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn tell(&self, address: String, drained: bool) {
        let method = if drained { Method::POST } else { Method::DELETE };
        let answer = self.http.request(method, &address).send().await;
        if let Err(error) = answer.and_then(reqwest::Response::error_for_status) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(address, drained, error, "a sidecar does not answer");
        }
    }
}

/// Where a decode pod's sidecar is asked; `None` without an address.
fn address(pod: &Pod, path: &str) -> Option<String> {
    if super::observed::role_of(pod) != Some(Role::Decode) {
        return None;
    }
    let address: std::net::IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let socket = std::net::SocketAddr::new(address, u16::try_from(ports::SIDECAR.number).ok()?);
    Some(format!("https://{socket}{path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sidecar_that_was_not_told_has_not_moved_its_sessions() {
        let held = |draining, moving: Option<bool>| {
            let mut status = json!({"draining": draining, "open_rounds": 1, "held_kv_tokens": 64});
            if let Some(moving) = moving {
                status["moving"] = moving.into();
                status["sessions_left"] = 2.into();
                status["sessions_moved"] = 3.into();
            }
            Held::from(&serde_json::from_value::<Status>(status).unwrap())
        };
        assert!(held(false, Some(false)).moving && held(true, Some(true)).moving);
        let done = Held { rounds: 1, kv_tokens: 64, moving: false, left: 2, moved: 3 };
        assert_eq!(held(true, Some(false)), done);
        assert_eq!(held(true, None), Held { left: 0, moved: 0, ..done });
    }

    #[test]
    fn rounds_count_under_the_objectives_that_they_had() {
        let slo =
            |ttft| Slo { ttft: Duration::from_millis(ttft), itl: Duration::from_millis(60), target: 0.9 };
        let told = json!({
            "draining": false, "open_rounds": 0, "held_kv_tokens": 0, "window_s": 300, "ttft_s": 0.2, "itl_s": 0.06,
            "attainment": {
                "rounds": 9, "attained": 1, "ttft_missed": 3, "ttft_missed_remote": 2, "itl_missed": 4, "turned_away": 1,
                "failed": 1,
            },
        });
        let status: Status = serde_json::from_value(told).unwrap();
        let expected = Rounds {
            rounds: 9,
            attained: 1,
            ttft_missed: 3,
            ttft_missed_remote: 2,
            itl_missed: 4,
            turned_away: 1,
            failed: 1,
        };
        assert_eq!(status.rounds_under(&slo(200)), Some(&expected));
        assert_eq!(status.rounds_under(&slo(2000)), None);
        let before = json!({"draining": false, "open_rounds": 0, "held_kv_tokens": 0});
        assert_eq!(serde_json::from_value::<Status>(before).unwrap().rounds_under(&slo(200)), None);
    }
}

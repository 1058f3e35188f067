//! Asks every process how it is, and keeps the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::members::Kind;
use super::readings::{Reading, SidecarReading, WorkerReading};

/// How often, while something starts.
const EAGER: Duration = Duration::from_millis(200);
/// How often, once all is ready.
const CALM: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A process that has answered before and is silent for so long is killed, as a liveness probe of Kubernetes would have
/// it: it may be frozen for ever.
const HUNG: Duration = Duration::from_secs(30);
/// Looks in vain that this takes at least: this process may itself have slept.
const HUNG_LOOKS: u32 = 10;

/// How a process is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Health {
    /// It does not run.
    #[default]
    Down,
    /// It runs and has not answered yet.
    Silent,
    /// It has answered and does so no more.
    Hung,
    /// It answers that it is not ready: why, and how far it is where it knows.
    NotReady {
        /// What it says.
        phase: String,
        /// From 0 to 1.
        progress: Option<f64>,
    },
    /// It is ready.
    Ready,
}

/// One process in the last look at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Report {
    /// How it is.
    pub(crate) health: Health,
    /// What its metrics said last; kept while it does not answer.
    pub(crate) reading: Option<Reading>,
}

/// Looks at all processes until `stop` and shows what it sees, one report a member.
pub(crate) async fn watch(
    cluster: Arc<Cluster>,
    http: reqwest::Client,
    reports: watch::Sender<Vec<Report>>,
    stop: CancellationToken,
) {
    let mut changed = cluster.changed.subscribe();
    let mut silences = vec![Silence::default(); cluster.members.with(<[_]>::len)];
    loop {
        let targets = cluster.members.with(|list| {
            list.iter().map(|member| (member.kind, member.control, member.second)).collect::<Vec<_>>()
        });
        let pids: Vec<_> = (0..targets.len()).map(|index| cluster.state(index).pid).collect();
        let looks = targets
            .iter()
            .zip(&pids)
            .map(|((kind, address, _), pid)| look(&http, *kind, *address, pid.is_some()));
        let mut seen = tokio::select! {
            () = stop.cancelled() => return,
            seen = join_all(looks) => seen,
        };
        for (index, silence) in silences.iter_mut().enumerate() {
            if let Some(pid) = silence.look(pids[index], &mut seen[index].0, Instant::now()) {
                cluster.hangs(index, pid);
            }
        }
        let ready = |index: usize| seen.get(index).is_some_and(|(health, _)| *health == Health::Ready);
        for index in (0..targets.len()).filter(|index| ready(*index)) {
            cluster.was_ready(index).store(true, Ordering::Relaxed);
        }
        let sidecars: Vec<SocketAddr> = (targets.iter().enumerate())
            .filter(|(index, (kind, _, _))| *kind == Kind::Sidecar && ready(*index))
            .filter_map(|(_, (_, _, public))| *public)
            .collect();
        cluster.ready_sidecars.send_if_modified(|current| {
            let changed = *current != sidecars;
            *current = sidecars;
            changed
        });
        let all_ready = (0..targets.len()).all(ready);
        reports.send_modify(|reports| {
            reports.resize(seen.len(), Report::default());
            for (report, (health, reading)) in reports.iter_mut().zip(seen) {
                report.health = health;
                report.reading = reading.or(report.reading.take());
            }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(if all_ready { CALM } else { EAGER }) => {}
            _ = changed.changed() => {}
        }
    }
}

/// How long a process has been silent.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    /// The process that answered last.
    answered: Option<u32>,
    /// Looks in vain since then, and when the first was.
    vain: Option<(u32, Instant)>,
}

impl Silence {
    /// Takes in how the process `pid` was just seen, which is `Hung` rather than `Silent` if it has answered before. It is
    /// given when it has to be killed.
    fn look(&mut self, pid: Option<u32>, health: &mut Health, now: Instant) -> Option<u32> {
        match health {
            Health::Ready | Health::NotReady { .. } => *self = Self { answered: pid, vain: None },
            Health::Silent | Health::Hung if self.answered.is_some() && self.answered == pid => {
                *health = Health::Hung;
                let (looks, since) = self.vain.unwrap_or((0, now));
                self.vain = Some((looks + 1, since));
                if looks + 1 >= HUNG_LOOKS && now.duration_since(since) >= HUNG {
                    *self = Self::default();
                    return pid;
                }
            }
            Health::Silent | Health::Hung | Health::Down => self.vain = None,
        }
        None
    }
}

async fn look(
    http: &reqwest::Client,
    kind: Kind,
    address: SocketAddr,
    is_running: bool,
) -> (Health, Option<Reading>) {
    if !is_running {
        return (Health::Down, None);
    }
    let health = match get(http, format!("http://{address}/readyz")).await {
        None => Health::Silent,
        Some((StatusCode::OK, _)) => Health::Ready,
        Some((_, body)) => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let told = ["phase", "reason"].iter().find_map(|key| body.get(key)?.as_str());
            let phase = told.unwrap_or("not ready").to_owned();
            Health::NotReady { phase, progress: body.get("progress").and_then(serde_json::Value::as_f64) }
        }
    };
    if health == Health::Silent {
        // Another question would only delay the look at all others.
        return (health, None);
    }
    let path = if kind == Kind::Sidecar { "metrics" } else { "metrics/load" };
    let reading = match get(http, format!("http://{address}/{path}")).await {
        Some((StatusCode::OK, body)) => ampd_telemetry::exposition::parse(&body).ok().map(|samples| {
            if kind == Kind::Sidecar {
                Reading::Sidecar(SidecarReading::of(&samples))
            } else {
                Reading::Worker(WorkerReading::of(&samples))
            }
        }),
        _ => None,
    };
    (health, reading)
}

/// An answer with its status; none when it does not come in time or is too large.
async fn get(http: &reqwest::Client, url: String) -> Option<(StatusCode, Vec<u8>)> {
    let answer = async {
        let mut response = http.get(url).send().await.ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return None;
            }
        }
        Some((response.status(), body))
    };
    tokio::time::timeout(DEADLINE, answer).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_has_answered_and_is_silent_for_long_is_hung() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut silence = Silence::default();
        let mut look = |pid, mut health, seconds| {
            let killed = silence.look(Some(pid), &mut health, start + second * seconds);
            assert!(killed.is_none_or(|killed| killed == pid));
            (health, killed.is_some())
        };
        // One that loads for minutes before it listens is not at fault.
        assert!((0..100).all(|at| look(1, Health::Silent, at) == (Health::Silent, false)));
        assert_eq!(look(1, Health::Ready, 100), (Health::Ready, false));
        assert!((101..131).all(|at| look(1, Health::Silent, at) == (Health::Hung, false)));
        assert_eq!(look(1, Health::Silent, 131), (Health::Hung, true));
        // The next process is a new one.
        assert_eq!(look(2, Health::Silent, 132), (Health::Silent, false));
        assert_eq!(look(2, Health::Ready, 133), (Health::Ready, false));
        // Few looks in long time mean that this process slept.
        assert_eq!(look(2, Health::Silent, 134), (Health::Hung, false));
        assert_eq!(look(2, Health::Silent, 500), (Health::Hung, false));
        assert_eq!(look(2, Health::Ready, 501), (Health::Ready, false));
    }
}

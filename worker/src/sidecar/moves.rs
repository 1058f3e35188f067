//! Moving the sessions of a drained worker to others, with their KV. What cannot move stays as it is: its next round runs
//! on another worker all the same, and computes its history anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::naming::bound_by;
use super::state::Shared;
use super::wire::Binding;
use crate::protocol::{
    ClientError, ControlClient, Deadlines, ErrorCode, HeldSession, PullSession, PulledSession,
};

/// Sessions that move at once: their KV shares the network with rounds.
const AT_ONCE: usize = 2;
/// Pause before sessions are looked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest time for one session: more than its new worker takes to give up.
const PULL: Duration = Duration::from_secs(8);
/// Times in a row that the own worker may fail to name its sessions before it counts as having none.
const FAILURES: usize = 20;

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Sessions may be left.
    pub moving: bool,
    /// Found and not moved yet.
    pub left: u64,
    /// Moved with their KV.
    pub moved: u64,
    /// Not moved.
    pub skipped: u64,
}

/// Moving, while it runs and after it.
#[derive(Debug, Default)]
pub(super) struct Moves {
    progress: Arc<Mutex<Progress>>,
    /// Held while it is begun or ended.
    running: tokio::sync::Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Moves {
    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// Stops moving, and forgets how far it was.
    pub(super) async fn stop(&self) {
        let mut running = self.running.lock().await;
        if let Some((stop, task)) = running.take() {
            stop.cancel();
            if let Err(error) = task.await {
                tracing::error!(error = &error as &dyn std::error::Error, "moving sessions failed");
            }
        }
        *self.progress.lock() = Progress::default();
    }
}

/// What became of a session; the values of the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its KV is at its new worker.
    Moved { tokens: u64 },
    /// A round of it was sooner, here or there.
    Overtaken,
    /// It does not fit beside what was used later.
    NoRoom,
    /// There is no other worker.
    Nowhere,
    /// No next round can ask for it.
    Nameless,
    /// The transfer failed.
    Failed,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Moved { .. } => "moved",
            Self::Overtaken => "overtaken",
            Self::NoRoom => "no_room",
            Self::Nowhere => "nowhere",
            Self::Nameless => "nameless",
            Self::Failed => "failed",
        }
    }

    fn of(pulled: &Result<PulledSession, ClientError>) -> Self {
        let error = match pulled {
            Ok(pulled) => return Self::Moved { tokens: pulled.tokens },
            Err(error) => error,
        };
        match error.detail().map(|detail| detail.code) {
            Some(ErrorCode::SessionBusy | ErrorCode::WrongState | ErrorCode::StaleEpoch) => Self::Overtaken,
            Some(ErrorCode::KvExhausted | ErrorCode::Overloaded) => Self::NoRoom,
            _ => Self::Failed,
        }
    }
}

impl Shared {
    /// Begins to move the own worker's sessions, unless that was begun already.
    pub(super) async fn move_sessions(self: &Arc<Self>) {
        let mut running = self.moves.running.lock().await;
        if running.is_some() {
            return;
        }
        *self.moves.progress.lock() = Progress { moving: true, ..Progress::default() };
        let stop = self.shutdown.child_token();
        let (shared, stopped) = (self.clone(), stop.clone());
        let task = self.tasks.spawn(async move {
            stopped.run_until_cancelled(shared.move_all()).await;
            shared.moves.progress.lock().moving = false;
        });
        *running = Some((stop, task));
    }

    /// Moves sessions until none is left, and none can come any more. Each is tried once.
    async fn move_all(&self) {
        let (mut tried, mut failures) = (HashSet::new(), 0);
        while failures < FAILURES {
            // Looked at first: what ends later is found idle by the next look.
            let rounds = self.served.len();
            let Some(member) = self.member(self.own.name()) else { return };
            match self.decode_client(&member).sessions().await {
                Ok(sessions) => {
                    failures = 0;
                    let busy = rounds > 0 || sessions.busy > 0;
                    let mut found = sessions.idle;
                    found.retain(|session| tried.insert(session.session.clone()));
                    if found.is_empty() && !busy {
                        return;
                    }
                    self.moves.progress.lock().left = found.len() as u64;
                    let moves = futures::stream::iter(found);
                    moves
                        .for_each_concurrent(AT_ONCE, |session| self.move_one(session, &member.worker_url))
                        .await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the own worker does not name its sessions"
                    );
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn move_one(&self, session: HeldSession, from: &str) {
        let outcome = self.try_move(&session, from).await;
        tracing::debug!(session = session.session, outcome = outcome.as_str(), "a session was to move");
        self.count_move("drain", outcome);
        let mut progress = self.moves.progress.lock();
        progress.left = progress.left.saturating_sub(1);
        if matches!(outcome, Outcome::Moved { .. }) {
            progress.moved += 1;
        } else {
            progress.skipped += 1;
        }
    }

    /// Counts a move, by why it was begun and how it ended.
    pub(super) fn count_move(&self, cause: &'static str, outcome: Outcome) {
        self.metrics.session_moves.with([cause, outcome.as_str()]).inc();
        if let Outcome::Moved { tokens } = outcome {
            self.metrics.session_moved_tokens.inc_by(tokens);
        }
    }

    /// Has the session bound to another worker, then has that one pull its KV: a round that comes in between runs there, and
    /// is sooner.
    async fn try_move(&self, session: &HeldSession, from: &str) -> Outcome {
        let HeldSession { session, epoch, tokens } = session;
        let Some(bound) = bound_by(session) else { return Outcome::Nameless };
        let binding = match self.rebind(&bound, *tokens, *epoch, None).await {
            Ok(binding) => binding,
            Err(refusal) => {
                tracing::debug!(session, error = %refusal, "a session cannot be bound anew");
                let nowhere = refusal.error.code == ErrorCode::NotReady;
                return if nowhere { Outcome::Nowhere } else { Outcome::Failed };
            }
        };
        self.pull(session, &binding, from, PULL).await
    }

    /// Has the worker that the session is bound to now pull its KV from the own one, at `from`.
    pub(super) async fn pull(
        &self,
        session: &str,
        binding: &Binding,
        from: &str,
        deadline: Duration,
    ) -> Outcome {
        let member = self.member(&binding.worker).filter(|member| member.name != self.own.name());
        let Some(member) = member else { return Outcome::Nowhere };
        let deadlines = Deadlines { call: deadline, ..Deadlines::default() };
        let client = ControlClient::new(self.clients.decode.clone(), &member.worker_url, deadlines);
        let pull = PullSession { session: session.to_owned(), epoch: binding.epoch, from: from.to_owned() };
        let pulled = client.pull_session(&pull).await;
        if let Err(error) = &pulled {
            let error = error as &dyn std::error::Error;
            tracing::info!(session, worker = member.name, error, "a session does not move");
        }
        Outcome::of(&pulled)
    }
}

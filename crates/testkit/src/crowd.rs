//! Many sessions at once, each of a few rounds, while something else happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::chat::{Answer, ChatClient, Conversation};

/// Who talks, and how much.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Start of the sessions' names.
    pub name: String,
    /// Sessions at once.
    pub sessions: usize,
    /// Rounds of each.
    pub rounds: usize,
    /// Most output tokens of a round.
    pub max_tokens: u32,
    /// Whether a session tries a failed round once more, at once.
    pub again: bool,
}

/// A round of a crowd.
#[derive(Debug)]
pub struct Outcome {
    /// Which session, from 0.
    pub session: usize,
    /// Which round of it, from 1.
    pub number: usize,
    /// Whether it was tried for the second time.
    pub again: bool,
    /// When it was sent.
    pub sent: Instant,
    /// What came back, or why nothing did.
    pub answer: Result<Answer, String>,
}

impl Outcome {
    /// Whether the round ran to its end without an error.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.answer.as_ref().is_ok_and(Answer::complete)
    }
}

/// A crowd that talks.
#[derive(Debug)]
pub struct Talking {
    tasks: JoinSet<Vec<Outcome>>,
    progress: Arc<Mutex<Progress>>,
}

/// What a crowd does at a moment.
#[derive(Debug, Default)]
struct Progress {
    /// Rounds that have ended, all tries of one as one.
    ended: usize,
    /// The rounds on their way, by session: the number, and when it was sent.
    running: BTreeMap<usize, (usize, Instant)>,
}

impl Crowd {
    /// Begins all sessions, spread over the clients in turn.
    #[must_use]
    pub fn start(self, clients: &[ChatClient]) -> Talking {
        let mut talking = Talking { tasks: JoinSet::new(), progress: Arc::default() };
        for (session, client) in (0..self.sessions).zip(clients.iter().cycle()) {
            let conversation = Conversation::new(client, format!("{}-{session}", self.name));
            talking.tasks.spawn(self.clone().talk(session, conversation, talking.progress.clone()));
        }
        talking
    }

    async fn talk(
        self,
        session: usize,
        mut conversation: Conversation,
        progress: Arc<Mutex<Progress>>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for number in 1..=self.rounds {
            let text = words(session, number);
            for again in [false, true] {
                let sent = Instant::now();
                locked(&progress).running.insert(session, (number, sent));
                let answer = conversation.say(&text, self.max_tokens).await;
                locked(&progress).running.remove(&session);
                let answer = answer.map_err(|error| format!("{error:#}"));
                let outcome = Outcome { session, number, again, sent, answer };
                let enough = outcome.complete() || !self.again;
                outcomes.push(outcome);
                if enough {
                    break;
                }
            }
            locked(&progress).ended += 1;
        }
        outcomes
    }
}

impl Talking {
    /// Waits until `rounds` rounds have ended and `running` or more are on their way.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn reach(&self, rounds: usize, running: usize, limit: Duration) -> anyhow::Result<()> {
        crate::wait::until("the crowd", limit, async || {
            let progress = locked(&self.progress);
            let now = (progress.ended, progress.running.len());
            anyhow::ensure!(now.0 >= rounds && now.1 >= running, "{now:?} ended and running");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// All rounds, when all have ended.
    ///
    /// # Errors
    /// When they have not within `limit`; the error names the rounds that are still on their way.
    pub async fn finish(mut self, limit: Duration) -> anyhow::Result<Vec<Outcome>> {
        let all = async {
            let mut outcomes = Vec::new();
            while let Some(ended) = self.tasks.join_next().await {
                outcomes.extend(ended?);
            }
            anyhow::Ok(outcomes)
        };
        match tokio::time::timeout(limit, all).await {
            Ok(outcomes) => outcomes,
            Err(_) => anyhow::bail!("not all rounds have ended: {:#?}", locked(&self.progress)),
        }
    }
}

/// A panic of one session is told when its task is joined.
fn locked(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some 60 tokens, different from early on for each round, so that no prefix cache has them.
fn words(session: usize, number: usize) -> String {
    const THINGS: [&str; 8] = ["river", "lamp", "horse", "window", "island", "engine", "forest", "letter"];
    let thing = |at: usize| THINGS[(session * 7 + number * 3 + at * 5) % THINGS.len()];
    let list: Vec<_> = (0..14).map(thing).collect();
    format!("Note {number} of visitor {session}: {}. Answer in a few words.", list.join(", "))
}

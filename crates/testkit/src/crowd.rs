//! Many sessions at once, each of a few rounds, while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    running: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
}

impl Crowd {
    /// Begins all sessions, spread over the clients in turn.
    #[must_use]
    pub fn start(self, clients: &[ChatClient]) -> Talking {
        let mut talking =
            Talking { tasks: JoinSet::new(), running: Arc::default(), finished: Arc::default() };
        for (session, client) in (0..self.sessions).zip(clients.iter().cycle()) {
            let conversation = Conversation::new(client, format!("{}-{session}", self.name));
            let (running, finished) = (talking.running.clone(), talking.finished.clone());
            talking.tasks.spawn(self.clone().talk(session, conversation, running, finished));
        }
        talking
    }

    async fn talk(
        self,
        session: usize,
        mut conversation: Conversation,
        running: Arc<AtomicUsize>,
        finished: Arc<AtomicUsize>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for number in 1..=self.rounds {
            let text = words(session, number);
            for again in [false, true] {
                let sent = Instant::now();
                running.fetch_add(1, Ordering::Relaxed);
                let answer = conversation.say(&text, self.max_tokens).await;
                running.fetch_sub(1, Ordering::Relaxed);
                let answer = answer.map_err(|error| format!("{error:#}"));
                let outcome = Outcome { session, number, again, sent, answer };
                let enough = outcome.complete() || !self.again;
                outcomes.push(outcome);
                if enough {
                    break;
                }
            }
            finished.fetch_add(1, Ordering::Relaxed);
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
            let now = (self.finished.load(Ordering::Relaxed), self.running.load(Ordering::Relaxed));
            anyhow::ensure!(now.0 >= rounds && now.1 >= running, "{now:?} ended and running");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// All rounds, when all have ended.
    ///
    /// # Errors
    /// When they have not within `limit`.
    pub async fn finish(mut self, limit: Duration) -> anyhow::Result<Vec<Outcome>> {
        let all = async {
            let mut outcomes = Vec::new();
            while let Some(ended) = self.tasks.join_next().await {
                outcomes.extend(ended?);
            }
            anyhow::Ok(outcomes)
        };
        tokio::time::timeout(limit, all).await?
    }
}

/// Some 60 tokens, different for each round, so that no prefix cache has them.
fn words(session: usize, number: usize) -> String {
    const THINGS: [&str; 8] = ["river", "lamp", "horse", "window", "island", "engine", "forest", "letter"];
    let thing = |at: usize| THINGS[(session * 7 + number * 3 + at * 5) % THINGS.len()];
    let list: Vec<_> = (0..12).map(|at| format!("{} {} {}", session + at * number, thing(at), at)).collect();
    format!("Note {number} of visitor {session}: {}. Answer in a few words.", list.join(", "))
}

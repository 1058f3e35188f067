//! Finding where a session is bound: from memory, or from its home.

use std::time::Instant;

use ampd_scheduler::{Overload, rendezvous};
use parking_lot::Mutex;

use super::lru::Lru;
use super::peer::failure;
use super::state::Shared;
use super::wire::{Binding, Refusal, Resolve};
use crate::protocol::ErrorCode;

/// Bindings remembered at most.
const MAX_KNOWN: usize = 1 << 16;
/// How long a binding is believed without asking home, seconds. Home forgets sessions that it hears nothing of.
const BELIEVED_S: f64 = 30.0;
/// Homes asked before the session is bound without one.
const HOMES: usize = 2;

/// The bindings that this sidecar was told.
#[derive(Debug)]
pub(super) struct Known {
    sessions: Mutex<Lru<String, Told>>,
}

#[derive(Debug, Clone)]
struct Told {
    binding: Binding,
    at_s: f64,
    rounds: u64,
}

impl Known {
    pub(super) fn new(ttl_s: f64) -> Self {
        Self { sessions: Mutex::new(Lru::new(MAX_KNOWN, ttl_s)) }
    }

    /// Rounds that the session is known to have had.
    pub(super) fn rounds(&self, session: &str, now_s: f64) -> u64 {
        self.sessions.lock().get(session, now_s).map_or(0, |told| told.rounds)
    }

    /// Notes the number of a session's round.
    pub(super) fn had_round(&self, session: &str, round: u64, now_s: f64) {
        if let Some(told) = self.sessions.lock().get(session, now_s) {
            told.rounds = told.rounds.max(round);
        }
    }

    fn told(&self, session: &str, binding: Binding, now_s: f64) {
        let mut sessions = self.sessions.lock();
        let rounds = sessions.get(session, now_s).map_or(0, |told| told.rounds);
        sessions.insert(session.to_owned(), Told { binding, at_s: now_s, rounds }, now_s);
    }
}

/// A binding that was of no use.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub binding: Binding,
    /// A new binding has to have a higher epoch.
    pub after: u64,
    /// The worker was lost; otherwise only the binding is void.
    pub lost: bool,
}

impl Shared {
    /// Where `session`, whose next round needs `tokens` of KV, is bound; one that `continues` has had rounds before. With a binding that failed, home is asked for a
    /// newer one.
    pub(super) async fn resolve(
        &self,
        session: &str,
        tokens: u64,
        continues: bool,
        failed: Option<&Failed>,
    ) -> Result<Binding, Refusal> {
        let now_s = self.clock.now_s();
        let told = self.known.sessions.lock().get(session, now_s).cloned();
        if let (Some(told), None) = (&told, failed)
            && now_s - told.at_s <= BELIEVED_S
            && self.members.ready(&told.binding.worker)
        {
            return Ok(told.binding.clone());
        }
        let ask = Resolve {
            session: session.to_owned(),
            tokens,
            hint: told.map(|told| told.binding.worker),
            after: failed.map(|failed| failed.after.max(failed.binding.epoch)),
            avoid: failed.filter(|failed| failed.lost).map(|failed| failed.binding.worker.clone()),
            drains: false,
            to: None,
            // Homes of other versions need not know of it where nobody is refused.
            continues: continues && self.config.overload != Overload::Off,
        };
        let asked = Instant::now();
        let binding = loop {
            match self.ask_home(&ask).await {
                Err(refusal) if self.waits_to_be_let_in(&refusal, asked).await => {}
                answer => break answer?,
            }
        };
        self.known.told(session, binding.clone(), now_s);
        Ok(binding)
    }

    /// Has a session bound anew, unless it is so already: `to` a worker, or to any but the own one, which drains. `epoch` is
    /// that of its last binding, `tokens` are those of its KV.
    pub(super) async fn rebind(
        &self,
        session: &str,
        tokens: u64,
        epoch: u64,
        to: Option<&str>,
    ) -> Result<Binding, Refusal> {
        let drains = to.is_none();
        let ask = Resolve {
            session: session.to_owned(),
            tokens,
            hint: None,
            after: Some(epoch),
            avoid: drains.then(|| self.own.name().to_owned()),
            drains,
            to: to.map(str::to_owned),
            continues: false,
        };
        let binding = self.ask_home(&ask).await?;
        self.known.told(session, binding.clone(), self.clock.now_s());
        Ok(binding)
    }

    /// Asks the session's home, or who takes over when that is gone, at last this sidecar itself.
    async fn ask_home(&self, ask: &Resolve) -> Result<Binding, Refusal> {
        let topology = self.topology();
        let names: Vec<&str> = topology.decode.iter().map(|member| member.name.as_str()).collect();
        let order = rendezvous::order(&ask.session, &names);
        let homes = order.into_iter().filter(|index| self.members.alive(names[*index])).take(HOMES);
        for index in homes {
            let member = &topology.decode[index];
            if member.name == self.own.name() {
                break;
            }
            match self.peer(member).resolve(ask).await {
                Ok(binding) => return Ok(binding),
                Err(error) => {
                    if let Some(failure) = failure(&error) {
                        self.members.failed(&member.name, failure);
                    }
                    // A home that answers has the last word, unless it is about to stop.
                    if error.detail().is_some_and(|detail| detail.code != ErrorCode::Draining) {
                        return Err(Refusal::from_client(&error));
                    }
                    tracing::warn!(
                        home = member.name,
                        error = &error as &dyn std::error::Error,
                        "a session's home did not answer"
                    );
                }
            }
        }
        self.resolve_at_home(ask).await
    }
}

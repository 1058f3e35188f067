//! A session's next round is opened on a better decode worker than its own, where its KV goes first.

use std::time::Duration;

use ampd_scheduler::{MoveCandidate, Moving};

use super::moves::Outcome;
use super::naming::bound_by;
use super::state::Shared;
use super::wire::Binding;
use crate::protocol::OpenRound;
use crate::topology::DecodeMember;

/// Sessions that leave at once for this: their KV shares the network with rounds, and workers take only some in at once.
pub(super) const AT_ONCE: usize = 2;
/// Longest time for a new binding. Homes answer in milliseconds, and a client waits for its first token.
const BIND: Duration = Duration::from_millis(500);
/// Longest time for the KV.
const PULL: Duration = Duration::from_secs(2);

impl Shared {
    /// Has the session of a round that is about to be opened here bound to a better decode worker, if there is one, and its
    /// KV moved there. If that was tried, how many rounds the session has had: the round's binding is void then, and whoever
    /// asked for it finds the new one at the session's home. Only a session whose last round was here moves: whoever has just
    /// come stays.
    pub(super) async fn relocates(&self, session: &str, open: &OpenRound) -> Option<u64> {
        // Rounds beside a session's, and further choices, have names of their own and no binding.
        let is_bound = bound_by(session).as_deref() == Some(session);
        if !self.config.moving || !is_bound {
            return None;
        }
        let rounds = self.rounds.last(session, self.clock.now_s())?;
        let topology = self.topology();
        let own = topology.decode.iter().position(|member| member.name == self.own.name())?;
        let to = self.better(&topology.decode, own, open.tokens.len())?;
        let _place = self.relocating.try_acquire().ok()?;
        let tokens = open.tokens.len() as u64;
        let binding = self.bind_to(&to.name, session, tokens, open.epoch).await?;
        self.members.moved(&to.name);
        let outcome = self.pull(session, &binding, &topology.decode[own].worker_url, PULL).await;
        self.count_move("load", outcome);
        tracing::debug!(session, to = binding.worker, outcome = outcome.as_str(), "a round is better there");
        match outcome {
            Outcome::Moved { .. } | Outcome::Overtaken => self.rounds.forget(session),
            Outcome::NoRoom | Outcome::Nowhere | Outcome::Nameless | Outcome::Failed => {
                self.members.did_not_move(&to.name);
                // Its KV is here: back, or its history would be computed there.
                drop(self.bind_to(self.own.name(), session, tokens, binding.epoch).await);
            }
        }
        Some(rounds)
    }

    async fn bind_to(&self, worker: &str, session: &str, tokens: u64, epoch: u64) -> Option<Binding> {
        match tokio::time::timeout(BIND, self.rebind(session, tokens, epoch, Some(worker))).await {
            Ok(Ok(binding)) => Some(binding),
            Ok(Err(refusal)) => {
                tracing::debug!(session, worker, error = %refusal, "a session is not bound anew");
                None
            }
            Err(_) => None,
        }
    }

    /// The member on whose worker a round with a prompt of `tokens` is better opened than on that of `own`, where it is about
    /// to be.
    fn better<'a>(&self, members: &'a [DecodeMember], own: usize, tokens: usize) -> Option<&'a DecodeMember> {
        let model = self.estimate.current();
        let told = members.iter().map(|member| self.members.move_candidate(&member.name, &model));
        let mut candidates: Vec<MoveCandidate> = told.collect();
        candidates[own] = self.own.move_candidate();
        let moving =
            Moving { model: &model, itl_s: self.config.slo.itl_s, capacity: self.members.kv_tokens() };
        let place = moving.choose(&candidates, own, u32::try_from(tokens).unwrap_or(u32::MAX))?;
        members.get(place)
    }
}

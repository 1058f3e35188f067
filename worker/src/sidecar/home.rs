//! A session's home: keeps where the session is bound, and binds it.

use std::time::{Duration, Instant};

use ampd_scheduler::BindCandidate;
use parking_lot::Mutex;

use super::epochs::Epochs;
use super::lines::Lines;
use super::lru::Lru;
use super::peer::failure;
use super::state::Shared;
use super::wire::{Binding, Refusal, Resolve};
use crate::protocol::{Bind, ClientError, ErrorCode};
use crate::topology::DecodeMember;

/// Bindings kept at most.
const MAX_SESSIONS: usize = 1 << 18;
/// Asks for one session at once: those of all choices that a sidecar serves at once. Conversations that nobody named and
/// that begin alike are one session, and all may begin before it has a binding.
const MAX_ASKS: usize = 8192;
/// How long one ask waits for others of the same session.
const TURN: Duration = Duration::from_secs(2);
/// For a worker's acknowledgement.
const BIND_DEADLINE: Duration = Duration::from_millis(1200);
/// For a binding with all its tries. With the wait before it, an asker gets its answer before it gives this home up and
/// has the session bound by another.
const BIND_BUDGET: Duration = Duration::from_millis(2500);
/// Workers tried for one binding.
const ATTEMPTS: usize = 3;

/// The bindings of the sessions whose home this is.
#[derive(Debug)]
pub(super) struct Home {
    directory: Mutex<Lru<String, Binding>>,
    asks: Lines,
    /// Issues the epochs of bindings.
    pub(super) epochs: Epochs,
}

impl Home {
    pub(super) fn new(ttl_s: f64) -> Self {
        Self {
            directory: Mutex::new(Lru::new(MAX_SESSIONS, ttl_s)),
            asks: Lines::new(MAX_ASKS),
            epochs: Epochs::default(),
        }
    }

    /// Sessions whose binding is kept.
    pub(super) fn len(&self, now_s: f64) -> usize {
        self.directory.lock().len(now_s)
    }
}

impl Shared {
    /// Where a session is bound; binds it when it is not, or when its binding is of no use any more. A binding counts only
    /// when the worker has acknowledged it.
    pub(super) async fn resolve_at_home(&self, ask: &Resolve) -> Result<Binding, Refusal> {
        let busy = |error| Refusal::overloaded(format!("the session's binding is being changed: {error}"));
        let _turn = self.home.asks.wait(&ask.session, TURN).await.map_err(busy)?;
        let known = self.home.directory.lock().get(&ask.session, self.clock.now_s()).cloned();
        let after = ask.after.unwrap_or(0);
        if let Some(binding) = &known
            && binding.epoch > after
            && self.members.ready(&binding.worker)
        {
            return Ok(binding.clone());
        }
        let floor = after.max(known.as_ref().map_or(0, |binding| binding.epoch));
        let before = known.as_ref().map(|binding| binding.worker.as_str());
        let to = ask.to.as_deref().filter(|to| self.members.ready(to));
        let wish = to.or(before).or(ask.hint.as_deref());
        let wish = wish.filter(|name| Some(*name) != ask.avoid.as_deref());
        let is_new = known.is_none() && ask.hint.is_none() && ask.after.is_none() && !ask.continues;
        let best_effort = if is_new { self.admit()? } else { known.as_ref().is_some_and(|b| b.best_effort) };
        let binding = Binding { best_effort, ..self.bind_session(ask, floor, wish).await? };
        if before.is_some() && before == ask.avoid.as_deref() && !ask.drains {
            self.metrics.bindings.with(["lost"]).inc();
        }
        let kind = match before {
            Some(worker) if worker != binding.worker => "rebound",
            Some(_) => "kept",
            None => "new",
        };
        if kind != "kept" {
            self.metrics.bindings.with([kind]).inc();
        }
        tracing::debug!(
            session = ask.session,
            worker = binding.worker,
            epoch = binding.epoch,
            kind,
            "session bound"
        );
        let now_s = self.clock.now_s();
        let mut directory = self.home.directory.lock();
        directory.insert(ask.session.clone(), binding.clone(), now_s);
        self.metrics.bound_sessions.set(directory.len(now_s) as f64);
        Ok(binding)
    }

    async fn bind_session(&self, ask: &Resolve, floor: u64, wish: Option<&str>) -> Result<Binding, Refusal> {
        let until = Instant::now() + BIND_BUDGET;
        let topology = self.topology();
        let members = &topology.decode;
        let avoid = ask.avoid.as_deref();
        let mut candidates = self.candidates(members);
        let best = |candidates: &[BindCandidate]| {
            let rule = |candidates: &[BindCandidate]| {
                self.config.binding.choose(candidates, self.members.kv_tokens())
            };
            choose(members, candidates, wish, avoid, rule)
        };
        if best(&candidates).is_none_or(|index| avoid == Some(&*members[index].name)) {
            // What is known may be a moment old, and a moment decides between another worker and none.
            self.ask_members().await;
            candidates = self.candidates(members);
        }
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(index) = best(&candidates) else { break };
            let member = &members[index];
            let acknowledged = self.acknowledged(member, &ask.session, floor);
            let deadline = BIND_DEADLINE.min(until.saturating_duration_since(Instant::now()));
            let acknowledged = tokio::time::timeout(deadline, acknowledged)
                .await
                .unwrap_or(Err(ClientError::Deadline { after: deadline }));
            match acknowledged {
                Ok(epoch) => {
                    self.members.bound(&member.name, ask.tokens);
                    return Ok(Binding { worker: member.name.clone(), epoch, best_effort: false });
                }
                Err(error) => {
                    if let Some(failure) = failure(&error) {
                        self.members.failed(&member.name, failure);
                    }
                    tracing::warn!(
                        worker = member.name,
                        error = &error as &dyn std::error::Error,
                        "a worker did not take a session"
                    );
                    last = Some(error);
                    candidates[index].ready = false;
                }
            }
        }
        Err(last
            .map_or_else(|| Refusal::none_ready("no decode worker is ready"), |e| Refusal::from_client(&e)))
    }

    fn candidates(&self, members: &[DecodeMember]) -> Vec<BindCandidate> {
        let (model, itl_s) = (self.estimate.current(), self.config.slo.itl_s);
        members.iter().map(|member| self.members.candidate(&member.name, &model, itl_s)).collect()
    }

    /// Binds the session to one worker, with an epoch above `floor` and above the one that the worker knows; ends only
    /// with an answer.
    async fn acknowledged(
        &self,
        member: &DecodeMember,
        session: &str,
        floor: u64,
    ) -> Result<u64, ClientError> {
        let client = self.decode_client(member);
        let mut floor = floor;
        loop {
            let epoch = self.home.epochs.next(floor);
            let ask = Bind { session: session.to_owned(), epoch };
            let Err(error) = client.bind(&ask).await else { return Ok(epoch) };
            match error.detail() {
                Some(detail) if detail.code == ErrorCode::StaleEpoch && detail.epoch > Some(floor) => {
                    floor = detail.epoch.unwrap_or(floor);
                }
                _ => return Err(error),
            }
        }
    }
}

/// The wished worker if it is ready, else the one that the rule takes, the avoided one only if there is no other.
fn choose(
    members: &[DecodeMember],
    candidates: &[BindCandidate],
    wish: Option<&str>,
    avoid: Option<&str>,
    rule: impl Fn(&[BindCandidate]) -> Option<usize>,
) -> Option<usize> {
    let named = |name: &str| members.iter().position(|member| member.name == name);
    let ready = |index: &usize| candidates[*index].ready;
    if let Some(index) = wish.and_then(named).filter(ready) {
        return Some(index);
    }
    let mut others = candidates.to_vec();
    let avoided = avoid.and_then(named);
    if let Some(index) = avoided {
        others[index].ready = false;
    }
    rule(&others).or(avoided.filter(ready))
}

#[cfg(test)]
mod tests {
    use ampd_scheduler::bind;

    use super::*;

    #[test]
    fn wishes_room_and_losses_count_in_this_order() {
        let member = |name: &str| DecodeMember {
            name: name.into(),
            worker_url: String::new(),
            sidecar_url: String::new(),
            kv_addr: String::new(),
            ends: false,
        };
        let members = [member("a"), member("b"), member("c")];
        let candidate = |free_kv_tokens, ready| BindCandidate {
            free_kv_tokens,
            sessions: 0,
            running: 0,
            itl_share: 0.0,
            ready,
        };
        let all = [candidate(1, true), candidate(3, true), candidate(2, true)];
        let choose = |candidates: &[_], wish, avoid| choose(&members, candidates, wish, avoid, bind);
        assert_eq!(choose(&all, None, None), Some(1));
        assert_eq!(choose(&all, Some("a"), None), Some(0));
        assert_eq!(choose(&all, None, Some("b")), Some(2));
        assert_eq!(choose(&all, Some("gone"), None), Some(1));
        let only_b = [candidate(1, false), candidate(3, true), candidate(2, false)];
        assert_eq!(choose(&only_b, Some("a"), Some("b")), Some(1));
        assert_eq!(choose(&[candidate(1, false); 3], Some("a"), None), None);
    }
}

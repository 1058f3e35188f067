//! Who may see the metrics: the cluster is asked who a token belongs to, and whether they may `get` the path.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long a verdict holds.
const VALID: Duration = Duration::from_secs(10);
/// Verdicts that are remembered.
const REMEMBERED: usize = 256;
/// Questions to the cluster at once.
const REVIEWS: usize = 4;
/// How long the cluster may take over one token.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest token that the cluster is asked about, bytes.
const MAX_TOKEN: usize = 16 << 10;

/// What the cluster says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its owner may.
    Allowed,
    /// It is nobody's.
    Nobody,
    /// Its owner may not.
    Forbidden,
}

/// The cluster says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// It refuses.
    #[error("the cluster does not review the token")]
    Api(#[from] kube::Error),
    /// It is slow.
    #[error("the review of the token took longer than {PATIENCE:?}")]
    Slow,
}

/// Asks and remembers.
pub(super) struct Gate {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
    /// By the digests of tokens, which are themselves kept nowhere.
    verdicts: Mutex<BTreeMap<[u8; 32], (Instant, Verdict)>>,
    reviews: Semaphore,
}

impl Gate {
    pub fn new(client: kube::Client) -> Self {
        Self {
            tokens: Api::all(client.clone()),
            access: Api::all(client),
            verdicts: Mutex::default(),
            reviews: Semaphore::new(REVIEWS),
        }
    }

    /// Whether the owner of a token may get a path.
    pub async fn check(&self, token: &str, path: &str) -> Result<Verdict, Unanswered> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Ok(Verdict::Nobody);
        }
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(verdict) = self.remembered(&digest) {
            return Ok(verdict);
        }
        let verdict = timeout(PATIENCE, self.review(token, path)).await.map_err(|_| Unanswered::Slow)??;
        self.remember(digest, verdict, Instant::now());
        Ok(verdict)
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Verdict> {
        let verdicts = self.verdicts.lock();
        verdicts.get(digest).filter(|(at, _)| at.elapsed() < VALID).map(|(_, verdict)| *verdict)
    }

    fn remember(&self, digest: [u8; 32], verdict: Verdict, now: Instant) {
        let mut verdicts = self.verdicts.lock();
        if verdicts.len() >= REMEMBERED {
            verdicts.retain(|_, (at, _)| now.duration_since(*at) < VALID);
        }
        // Tokens that are nobody's can be made up without end; they must not push out those that are somebody's.
        if verdicts.len() < REMEMBERED {
            verdicts.insert(digest, (now, verdict));
        }
    }

    async fn review(&self, token: &str, path: &str) -> Result<Verdict, kube::Error> {
        // The semaphore is never closed.
        let _place = self.reviews.acquire().await;
        let parameters = PostParams::default();
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = self.tokens.create(&parameters, &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Verdict::Nobody);
        };
        let UserInfo { username, uid, groups, extra } = user;
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            non_resource_attributes: Some(attributes),
            resource_attributes: None,
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = self.access.create(&parameters, &review).await?.status;
        let allowed = status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Allowed } else { Verdict::Forbidden })
    }
}

#[cfg(test)]
mod tests {
    use ampd_fakeapi::{FakeApi, Fault};

    use super::*;

    #[tokio::test]
    async fn the_cluster_says_who_may() {
        let fake = FakeApi::new();
        fake.set_token("good", "prometheus");
        fake.set_token("other", "somebody");
        fake.permit("prometheus", "get", "/metrics");
        let gate = Gate::new(fake.client("ampd"));
        for _ in 0..3 {
            assert_eq!(gate.check("good", "/metrics").await.unwrap(), Verdict::Allowed);
            assert_eq!(gate.check("other", "/metrics").await.unwrap(), Verdict::Forbidden);
            assert_eq!(gate.check("bad", "/metrics").await.unwrap(), Verdict::Nobody);
            assert_eq!(gate.check("", "/metrics").await.unwrap(), Verdict::Nobody);
        }
        assert_eq!(fake.writes().len(), 5, "each was asked about once");
        assert_eq!(gate.check(&"x".repeat(MAX_TOKEN + 1), "/metrics").await.unwrap(), Verdict::Nobody);
        assert_eq!(fake.writes().len(), 5);
    }

    #[tokio::test]
    async fn without_an_answer_nothing_is_remembered() {
        let fake = FakeApi::new();
        fake.set_token("good", "prometheus");
        fake.permit("prometheus", "get", "/metrics");
        let gate = Gate::new(fake.client("ampd"));
        fake.set_faults(|_| Fault::Fail(500, "InternalError"));
        assert!(gate.check("good", "/metrics").await.is_err());
        fake.clear_faults();
        assert_eq!(gate.check("good", "/metrics").await.unwrap(), Verdict::Allowed);
    }

    #[tokio::test]
    async fn verdicts_are_few_and_grow_old() {
        let gate = Gate::new(FakeApi::new().client("ampd"));
        let now = Instant::now();
        let digest = |index: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&index.to_be_bytes());
            digest
        };
        for index in 0..REMEMBERED + 10 {
            gate.remember(digest(index), Verdict::Nobody, now);
        }
        assert_eq!(gate.verdicts.lock().len(), REMEMBERED);
        assert_eq!(gate.remembered(&digest(0)), Some(Verdict::Nobody));
        gate.remember(digest(REMEMBERED + 10), Verdict::Allowed, now + VALID);
        assert_eq!(gate.verdicts.lock().len(), 1);
        let old = now.checked_sub(VALID).unwrap();
        gate.remember(digest(1), Verdict::Allowed, old);
        assert_eq!(gate.remembered(&digest(1)), None);
    }
}

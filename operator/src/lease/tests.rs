//! Single steps of a candidate, and whole replicas against an API.

use ampd_fakeapi::{FakeApi, Fault, Verb};
use proptest::prelude::*;

use super::*;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ampd/leases/operator";

fn seconds(count: f64) -> Duration {
    Duration::from_secs_f64(count)
}

proptest! {
    /// Against a plain account of what was seen since when.
    #[test]
    fn nobody_takes_what_another_may_hold(steps in proptest::collection::vec((0_u8..6, 0.0..4.0), 1..200)) {
        let times = Times::default();
        let mut candidate = Candidate::new("me".into(), times);
        let (mut now, mut version) = (Duration::ZERO, 0);
        let mut record: Option<Record> = None;
        let mut last: Option<String> = None;
        let mut others_since: Option<Clock> = None;
        let mut renewed: Option<Clock> = None;
        for (what, time) in steps {
            now += seconds(time);
            match what {
                0 => {
                    version += 1;
                    let holder = ["", "me", "other"][version % 3].to_owned();
                    record = Some(Record { holder, version: version.to_string(), duration: times.duration });
                }
                1 => record = None,
                _ => {}
            }
            let decision = candidate.decide(now);
            let held = renewed.map(|renewed| renewed + times.deadline);
            prop_assert_eq!(candidate.holds(now), held.is_some_and(|until| now < until));
            prop_assert!(candidate.patience(now) <= times.request);
            match decision {
                Decision::Lost => {
                    prop_assert!(held.is_some());
                    candidate = Candidate::new("me".into(), times);
                    (renewed, others_since, last) = (None, None, None);
                }
                Decision::Wait(time) => {
                    prop_assert!(time > Duration::ZERO && time <= times.retry);
                    prop_assert!(held.is_none_or(|until| now + time <= until), "beyond the deadline");
                }
                Decision::Read => {
                    candidate.read(record.clone(), now);
                    if let Some(record) = record.as_ref().filter(|record| last.as_ref() != Some(&record.version)) {
                        last = Some(record.version.clone());
                        others_since = (record.holder == "other").then_some(now);
                    }
                }
                Decision::Create | Decision::Replace => {
                    prop_assert!(
                        others_since.is_none_or(|since| now >= since + times.duration),
                        "{:?} at {:?}, seen since {:?}", decision, now, others_since
                    );
                    prop_assert!(held.is_none_or(|until| now < until));
                    if what < 5 {
                        version += 1;
                        let mine = Record {
                            holder: "me".into(), version: version.to_string(), duration: times.duration,
                        };
                        candidate.wrote(mine.clone(), now, now, times.retry);
                        last = Some(mine.version.clone());
                        (record, renewed, others_since) = (Some(mine), Some(now), None);
                    } else {
                        candidate.failed(now, times.retry);
                    }
                }
            }
        }
    }
}

#[test]
fn a_lease_that_vanishes_still_counts() {
    let times = Times::default();
    let other = Record { holder: "other".into(), version: "1".into(), duration: times.duration };
    let mut candidate = Candidate::new("me".into(), times);
    candidate.read(Some(other), seconds(1.0));
    candidate.read(None, seconds(3.0));
    assert!(matches!(candidate.decide(seconds(3.0)), Decision::Wait(_)));
    candidate.read(None, seconds(16.0));
    assert_eq!(candidate.decide(seconds(16.0)), Decision::Create);
    let mut fresh = Candidate::new("me".into(), times);
    fresh.read(None, seconds(0.0));
    assert_eq!(fresh.decide(seconds(0.0)), Decision::Create);
}

#[test]
fn a_record_with_an_absurd_duration_does_not_lock_out_for_ever() {
    let mut candidate = Candidate::new("me".into(), Times::default());
    let other = Record { holder: "other".into(), version: "1".into(), duration: Duration::MAX };
    candidate.read(Some(other.clone()), seconds(0.0));
    candidate.read(Some(other), seconds(600.0));
    assert_eq!(candidate.decide(seconds(600.0)), Decision::Replace);
}

fn holder_of(fake: &FakeApi) -> String {
    fake.object(PATH)
        .map_or_else(String::new, |lease| lease["spec"]["holderIdentity"].as_str().unwrap().into())
}

/// Shorter than in a cluster, and long for a busy machine.
const TIMES: Times = Times {
    duration: Duration::from_secs(6),
    deadline: Duration::from_secs(4),
    retry: Duration::from_millis(300),
    request: Duration::from_secs(2),
};

async fn try_acquire(fake: FakeApi, identity: &str, shutdown: &CancellationToken) -> Option<Leadership> {
    let api = Api::namespaced(fake.client("ampd"), "ampd");
    Leadership::of(Holder::new(api, "operator", identity, TIMES), shutdown).await
}

async fn acquire(fake: FakeApi, identity: &str) -> Leadership {
    try_acquire(fake, identity, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_follower_takes_over_at_once_when_the_lease_is_given_back() {
    let fake = FakeApi::new();
    let first = acquire(fake.clone(), "first").await;
    assert!(holder_of(&fake).starts_with("first_"));
    let follower = tokio::spawn(acquire(fake.clone(), "second"));
    // Longer than the lease lasts without renewals.
    sleep(TIMES.duration + TIMES.retry * 2).await;
    assert!(!follower.is_finished() && !first.lost().is_cancelled());
    let renewals = fake.take_writes();
    assert!(renewals.len() > 3 && renewals.iter().all(|write| write.code < 300), "{renewals:?}");

    let released = Instant::now();
    first.release().await;
    let second = follower.await.unwrap();
    assert!(released.elapsed() < TIMES.deadline, "{:?}", released.elapsed());
    let lease = fake.object(PATH).unwrap();
    assert!(lease["spec"]["holderIdentity"].as_str().unwrap().starts_with("second_"));
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    second.release().await;
    assert_eq!(holder_of(&fake), "");
}

#[tokio::test]
async fn a_holder_that_is_cut_off_gives_up_before_anybody_follows() {
    let fake = FakeApi::new();
    let first = acquire(fake.clone(), "first").await;
    let follower = tokio::spawn(acquire(fake.clone(), "second"));
    sleep(TIMES.retry * 2).await;
    let identity = holder_of(&fake);
    // The second writes nothing while the first holds, so these are the renewals.
    fake.set_faults(|call| if call.verb == Verb::Replace { Fault::Hang } else { Fault::Pass });
    first.lost().cancelled().await;
    assert_eq!(holder_of(&fake), identity);
    assert!(!follower.is_finished());
    fake.clear_faults();
    let second = follower.await.unwrap();
    first.release().await;
    assert!(holder_of(&fake).starts_with("second_"), "the first one gives back nothing that is not its own");
    second.release().await;
}

#[tokio::test]
async fn without_an_api_leadership_ends_and_nobody_follows() {
    let fake = FakeApi::new();
    let first = acquire(fake.clone(), "first").await;
    fake.set_down(true);
    let down = Instant::now();
    first.lost().cancelled().await;
    // The last renewal was before; the machine may be busy.
    assert!(down.elapsed() < TIMES.deadline + seconds(1.0), "{:?}", down.elapsed());
    let shutdown = CancellationToken::new();
    let waiting = timeout(seconds(1.0), try_acquire(fake.clone(), "second", &shutdown)).await;
    assert!(waiting.is_err());
    shutdown.cancel();
    assert!(try_acquire(fake.clone(), "second", &shutdown).await.is_none());
    assert!(holder_of(&fake).starts_with("first_"));
}

#[tokio::test]
async fn lost_answers_and_short_outages_cost_nothing() {
    let fake = FakeApi::new();
    fake.set_faults(|call| if call.verb.reads() { Fault::Pass } else { Fault::CommitThenDrop });
    let acquiring = tokio::spawn(acquire(fake.clone(), "first"));
    sleep(seconds(2.0)).await;
    assert!(!acquiring.is_finished(), "it cannot know");
    assert!(holder_of(&fake).starts_with("first_"));
    fake.clear_faults();
    let first = acquiring.await.unwrap();
    for _ in 0..5 {
        fake.set_down(true);
        sleep(seconds(1.0)).await;
        fake.set_down(false);
        sleep(seconds(1.0)).await;
    }
    assert!(!first.lost().is_cancelled());
    // Another writer of the same lease costs one renewal, no more.
    let api: Api<Lease> = Api::namespaced(fake.admin("ampd"), "ampd");
    let noted = serde_json::json!({"metadata": {"annotations": {"note": "x"}}});
    api.patch("operator", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(noted)).await.unwrap();
    sleep(TIMES.deadline).await;
    assert!(!first.lost().is_cancelled());
    assert_eq!(fake.object(PATH).unwrap()["metadata"]["annotations"]["note"], "x");
    // A lease that was deleted is made anew.
    api.delete("operator", &kube::api::DeleteParams::default()).await.unwrap();
    let again = |fake: &FakeApi| holder_of(fake).starts_with("first_").then_some(());
    fake.until("the lease", TIMES.deadline, again).await.unwrap();
    assert!(!first.lost().is_cancelled());
    first.release().await;
    assert_eq!(holder_of(&fake), "");
}

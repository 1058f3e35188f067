use proptest::prelude::*;

use super::*;

const LIMIT: usize = 4;
const LONG: Duration = Duration::from_hours(1);

fn grant(round: u64) -> Grant {
    Grant { round, requester: "ampd://n/s/prefill".to_owned(), history: 3, end: 9 }
}

/// What is done to the lease at this index, if there is one. A time to live of zero is over at once, so that time plays
/// no part.
#[derive(Debug, Clone)]
enum Operation {
    Grant { lasting: bool },
    Open(usize),
    OpenByStranger(usize),
    Renew { lease: usize, lasting: bool },
    Begin(usize),
    Release(usize),
    Complete(usize),
    Disconnect(usize),
    Forget(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = 0_usize..LIMIT + 1;
    prop_oneof![
        any::<bool>().prop_map(|lasting| Operation::Grant { lasting }),
        index.clone().prop_map(Operation::Open),
        index.clone().prop_map(Operation::OpenByStranger),
        (index.clone(), any::<bool>()).prop_map(|(lease, lasting)| Operation::Renew { lease, lasting }),
        index.clone().prop_map(Operation::Begin),
        index.clone().prop_map(Operation::Release),
        index.clone().prop_map(Operation::Complete),
        index.clone().prop_map(Operation::Disconnect),
        index.prop_map(Operation::Forget),
    ]
}

/// The model of a lease beside the lease.
struct Held {
    lease: Lease,
    opened: Option<Opened>,
    was_opened: bool,
    end: Option<LeaseEnd>,
}

impl Held {
    fn finish(&mut self, end: LeaseEnd) {
        self.end.get_or_insert(end);
    }

    fn check(&self) -> Result<(), LeaseEnd> {
        self.end.map_or(Ok(()), Err)
    }
}

proptest! {
    #[test]
    fn leases_agree_with_a_model(operations in prop::collection::vec(operation(), 0..60)) {
        let leases = Leases::new(LIMIT);
        let mut held: Vec<Held> = Vec::new();
        let mut forgotten = Vec::new();
        for operation in operations {
            match operation {
                Operation::Grant { lasting } => {
                    let granted = leases.grant(grant(1), if lasting { LONG } else { Duration::ZERO });
                    prop_assert_eq!(granted.is_ok(), held.len() < LIMIT);
                    if let Ok(lease) = granted {
                        let end = (!lasting).then_some(LeaseEnd::Expired);
                        held.push(Held { lease, opened: None, was_opened: false, end });
                    }
                }
                Operation::Open(index) => if let Some(it) = held.get_mut(index) {
                    let opened = leases.open(&it.lease.handle(), "ampd://n/s/prefill");
                    let expected = match (it.was_opened, it.end) {
                        (true, _) => Some(Reason::HandleUsed),
                        (false, Some(end)) => Some(end.reason()),
                        (false, None) => None,
                    };
                    prop_assert_eq!(opened.as_ref().err().copied(), expected);
                    if let Ok(opened) = opened {
                        it.was_opened = true;
                        it.opened = Some(opened);
                    }
                },
                Operation::OpenByStranger(index) => if let Some(it) = held.get(index) {
                    let opened = leases.open(&it.lease.handle(), "ampd://n/s/sidecar");
                    prop_assert_eq!(opened.err(), Some(Reason::Requester));
                },
                Operation::Renew { lease, lasting } => if let Some(it) = held.get_mut(lease) {
                    let renewed = it.lease.renew(if lasting { LONG } else { Duration::ZERO });
                    prop_assert_eq!(renewed, it.check());
                    if !lasting {
                        it.finish(LeaseEnd::Expired);
                    }
                },
                Operation::Begin(index) => if let Some(it) = held.get_mut(index) && let Some(opened) = &it.opened {
                    prop_assert_eq!(opened.check().err(), it.end);
                },
                Operation::Release(index) => if let Some(it) = held.get_mut(index) {
                    it.lease.release();
                    it.finish(LeaseEnd::Released);
                },
                Operation::Complete(index) => if let Some(it) = held.get_mut(index) && let Some(opened) = &it.opened {
                    let end = opened.end(LeaseEnd::Complete);
                    it.end.get_or_insert(LeaseEnd::Complete);
                    prop_assert_eq!(Some(end), it.end);
                },
                Operation::Disconnect(index) => if let Some(it) = held.get_mut(index) && it.opened.take().is_some() {
                    it.finish(LeaseEnd::Failed(Reason::Disconnected));
                },
                Operation::Forget(index) => if index < held.len() {
                    let it = held.remove(index);
                    forgotten.push(it.lease.handle());
                },
            }
            for it in &held {
                let record = leases.table.records.lock().get(&it.lease.handle()).cloned();
                let record = record.expect("a lease in the owner's hands is in the table");
                prop_assert_eq!((record.check().err(), record.state().opened), (it.end, it.was_opened));
            }
            prop_assert_eq!(leases.live(), held.iter().filter(|it| it.end.is_none()).count());
            for handle in &forgotten {
                let opened = leases.open(handle, "ampd://n/s/prefill");
                prop_assert_eq!(opened.err(), Some(Reason::UnknownHandle));
            }
        }
    }
}

#[test]
fn no_lease_lasts_longer_than_the_maximum() {
    let leases = Leases::new(1);
    let lease = leases.grant(grant(1), LONG).unwrap();
    let record = leases.table.records.lock().get(&lease.handle()).cloned().unwrap();
    assert!(record.state().deadline <= Instant::now() + MAX_LEASE);
    lease.renew(LONG).unwrap();
    assert!(record.state().deadline <= Instant::now() + MAX_LEASE);
    // Renewals add up to more than the maximum, one after another.
    let mut state = record.state();
    let mut now = state.deadline;
    for _ in 0..3 {
        now += MAX_LEASE / 2;
        state.deadline = now + MAX_LEASE;
        assert_eq!(state.check(now), Ok(()));
    }
    assert_eq!(state.check(now + MAX_LEASE), Err(LeaseEnd::Expired));
    assert_eq!(state.check(now), Err(LeaseEnd::Expired), "what has ended stays ended");
}

#[test]
fn impossible_ranges_are_refused() {
    let leases = Leases::new(1);
    for (history, end) in [(4, 4), (5, 4), (0, 1 << 33)] {
        let error = leases.grant(Grant { history, end, ..grant(1) }, LONG).unwrap_err();
        assert_eq!(error, GrantError::Range { history, end });
    }
}

#[tokio::test]
async fn ends_are_observable() {
    let leases = Leases::new(3);
    let expiring = leases.grant(grant(1), Duration::from_millis(20)).unwrap();
    let renewed = leases.grant(grant(2), Duration::from_secs(5)).unwrap();
    let failing = leases.grant(grant(3), LONG).unwrap();
    renewed.renew(LONG).unwrap();
    assert_eq!(expiring.ended().await, LeaseEnd::Expired);
    assert_eq!(leases.live(), 2);

    let opened = leases.open(&failing.handle(), "ampd://n/s/prefill").unwrap();
    let (end, ()) = tokio::join!(failing.ended(), async {
        opened.end(LeaseEnd::Failed(Reason::Checksum));
    });
    assert_eq!(end, LeaseEnd::Failed(Reason::Checksum));
    assert_eq!(opened.check(), Err(end));
}

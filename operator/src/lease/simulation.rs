//! Three candidates, a lease, requests and answers that come late or never, and clocks that run at different rates.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::decide::{Candidate, Clock, Decision, Record, Times};

/// Microseconds of the time that nobody knows.
type Real = u64;

const SECOND: Real = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake,
    Arrive { request: u64, write: Option<(Option<String>, String)> },
    Answer { request: u64, record: Result<Option<(String, String)>, ()> },
    TimeOut { request: u64 },
}

struct Replica {
    rate: f64,
    offset: f64,
    identity: String,
    candidate: Candidate,
    /// The version that it read or wrote last.
    version: Option<String>,
    waits_for: Option<(u64, Clock, bool)>,
}

struct World {
    times: Times,
    now: Real,
    random: StdRng,
    /// How many of a hundred messages are lost, and the longest delay of the others.
    loss: u32,
    delay: Real,
    /// Holder and version.
    lease: Option<(String, u64)>,
    versions: u64,
    requests: u64,
    replicas: Vec<Replica>,
    queue: BinaryHeap<Reverse<(Real, u64, usize, Event)>>,
    scheduled: u64,
    /// How often somebody became the holder.
    terms: usize,
}

impl World {
    fn new(seed: u64, rates: [f64; 3], loss: u32, delay: Real, times: Times) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let replicas = rates
            .into_iter()
            .enumerate()
            .map(|(index, rate)| {
                let identity = format!("{index}-0");
                let candidate = Candidate::new(identity.clone(), times);
                let offset = random.random_range(0.0..1000.0);
                Replica { rate, offset, identity, candidate, version: None, waits_for: None }
            })
            .collect();
        let mut world = Self {
            times,
            now: 0,
            random,
            loss,
            delay,
            lease: None,
            versions: 0,
            requests: 0,
            replicas,
            queue: BinaryHeap::new(),
            scheduled: 0,
            terms: 0,
        };
        for index in 0..world.replicas.len() {
            let start = world.random.random_range(0..20 * SECOND);
            world.schedule(start, index, Event::Wake);
        }
        world
    }

    fn schedule(&mut self, after: Real, index: usize, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled, index, event)));
    }

    /// What the replica's own clock says now.
    fn clock(&self, index: usize) -> Clock {
        let replica = &self.replicas[index];
        Duration::from_secs_f64(replica.offset + self.now as f64 / SECOND as f64 * replica.rate)
    }

    fn real(&self, index: usize, time: Duration) -> Real {
        (time.as_secs_f64() / self.replicas[index].rate * SECOND as f64).ceil() as Real
    }

    fn holders(&self) -> usize {
        (0..self.replicas.len())
            .filter(|&index| self.replicas[index].candidate.holds(self.clock(index)))
            .count()
    }

    /// The message's way, if it arrives at all.
    fn way(&mut self) -> Option<Real> {
        let lost = self.random.random_range(0..100) < self.loss;
        let way = self.random.random_range(0..=self.delay);
        (!lost).then_some(way)
    }

    /// Runs for so long; whether there was ever more than one holder.
    fn overlaps(&mut self, time: Real) -> bool {
        while let Some(Reverse((at, _, index, event))) = self.queue.pop() {
            if at > time {
                break;
            }
            self.now = at;
            self.handle(index, event);
            if self.holders() > 1 {
                return true;
            }
        }
        false
    }

    fn handle(&mut self, index: usize, event: Event) {
        match event {
            Event::Wake => self.step(index),
            Event::Arrive { request, write } => {
                let record = self.serve(write);
                if let Some(way) = self.way() {
                    self.schedule(way, index, Event::Answer { request, record });
                }
            }
            Event::Answer { request, record } => {
                let (now, pause) = (self.clock(index), self.pause());
                let replica = &mut self.replicas[index];
                let Some((_, sent, wrote)) = replica.waits_for.take_if(|(waits, ..)| *waits == request)
                else {
                    return;
                };
                match record {
                    Err(()) => replica.candidate.failed(now, pause),
                    Ok(record) => {
                        replica.version = record.as_ref().map(|(_, version)| version.clone());
                        let duration = self.times.duration;
                        let record = record.map(|(holder, version)| Record { holder, version, duration });
                        match record {
                            Some(record) if wrote => {
                                self.terms += usize::from(replica.candidate.held_until().is_none());
                                replica.candidate.wrote(record, sent, now, pause);
                            }
                            record => replica.candidate.read(record, now),
                        }
                    }
                }
                self.step(index);
            }
            Event::TimeOut { request } => {
                let (now, pause) = (self.clock(index), self.pause());
                let replica = &mut self.replicas[index];
                if replica.waits_for.take_if(|(waits, ..)| *waits == request).is_some() {
                    replica.candidate.failed(now, pause);
                    self.step(index);
                }
            }
        }
    }

    fn pause(&mut self) -> Duration {
        self.times.retry.mul_f64(self.random.random_range(1.0..1.2))
    }

    /// What the API does with a request: a write has the version that it replaces and the new holder.
    fn serve(&mut self, write: Option<(Option<String>, String)>) -> Result<Option<(String, String)>, ()> {
        let current = self.lease.as_ref().map(|(_, version)| version.to_string());
        if let Some((replaced, holder)) = write {
            if replaced != current {
                return Err(());
            }
            self.versions += 1;
            self.lease = Some((holder, self.versions));
        }
        Ok(self.lease.clone().map(|(holder, version)| (holder, version.to_string())))
    }

    fn step(&mut self, index: usize) {
        let now = self.clock(index);
        let releases = self.random.random_range(0..20) == 0;
        let replica = &mut self.replicas[index];
        if replica.waits_for.is_some() {
            return;
        }
        if releases && replica.candidate.holds(now) {
            let write = Some((replica.version.clone(), String::new()));
            self.restart(index);
            self.send(index, write);
            return;
        }
        let write = match replica.candidate.decide(now) {
            Decision::Lost => {
                self.restart(index);
                return;
            }
            Decision::Wait(time) => {
                let after = self.real(index, time);
                self.schedule(after, index, Event::Wake);
                return;
            }
            Decision::Read => None,
            Decision::Create => Some((None, replica.identity.clone())),
            Decision::Replace => Some((replica.version.clone(), replica.identity.clone())),
        };
        let patience = replica.candidate.patience(now);
        let wrote = write.is_some();
        let request = self.send(index, write);
        self.replicas[index].waits_for = Some((request, now, wrote));
        let after = self.real(index, patience);
        self.schedule(after, index, Event::TimeOut { request });
    }

    fn send(&mut self, index: usize, write: Option<(Option<String>, String)>) -> u64 {
        self.requests += 1;
        let request = self.requests;
        if let Some(way) = self.way() {
            self.schedule(way, index, Event::Arrive { request, write });
        }
        request
    }

    /// The process ends, and another comes up after a while.
    fn restart(&mut self, index: usize) {
        let times = self.times;
        let replica = &mut self.replicas[index];
        replica.identity = format!("{index}-{}", self.requests + 1);
        replica.candidate = Candidate::new(replica.identity.clone(), times);
        replica.version = None;
        let after = self.random.random_range(0..5 * SECOND);
        self.schedule(after, index, Event::Wake);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn there_is_never_more_than_one_holder(
        seed: u64,
        rates in proptest::array::uniform3(0.9..1.3),
        loss in 0_u32..90,
        delay in prop_oneof![Just(SECOND / 100), Just(2 * SECOND), Just(30 * SECOND)],
    ) {
        let mut world = World::new(seed, rates, loss, delay, Times::default());
        prop_assert!(!world.overlaps(600 * SECOND), "two at {} s", world.now as f64 / SECOND as f64);
    }
}

/// Also a check that the property above can fail.
#[test]
fn clocks_that_drift_too_far_break_it() {
    let broken = (0..500).filter(|&seed| {
        World::new(seed, [0.4, 1.6, 1.6], 60, 2 * SECOND, Times::default()).overlaps(600 * SECOND)
    });
    assert!(broken.count() > 0);
    let late = Times { deadline: Duration::from_secs(30), ..Times::default() };
    let broken =
        (0..500).filter(|&seed| World::new(seed, [1.0; 3], 60, 2 * SECOND, late).overlaps(600 * SECOND));
    assert!(broken.count() > 0);
}

#[test]
fn somebody_holds_it_where_requests_arrive() {
    for seed in 0..20 {
        let mut world = World::new(seed, [0.95, 1.0, 1.05], 5, SECOND / 100, Times::default());
        assert!(!world.overlaps(600 * SECOND));
        assert!(world.terms > 3, "{} terms in ten minutes with releases", world.terms);
    }
}

//! What a candidate for leadership does next, as a function of what it has seen and of its own clock.
//!
//! Clocks of different machines are never compared. A record counts as expired when this candidate has itself seen it
//! unchanged for the record's duration; the holder counts from before it sent its last renewal, and gives up earlier than
//! anybody may take over. That leaves at most one holder as long as no clock runs faster than another by more than
//! `duration / deadline`.

use std::time::Duration;

/// The reading of a clock that never goes back, from an arbitrary start.
pub type Clock = Duration;

/// The longest duration of a record that is believed: a wrong one must not lock everybody out for ever.
const MAX_DURATION: Duration = Duration::from_mins(10);

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a record must be seen unchanged before another may take over.
    pub duration: Duration,
    /// How long after its last renewal a holder acts as one; shorter than the duration.
    pub deadline: Duration,
    /// Between renewals, and between looks of those who wait.
    pub retry: Duration,
    /// How long a request may take.
    pub request: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            request: Duration::from_secs(3),
        }
    }
}

/// What the lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Empty where nobody holds it.
    pub holder: String,
    /// Which write made it so.
    pub version: String,
    /// How long it lasts without being renewed.
    pub duration: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Read the lease.
    Read,
    /// Make the lease, which was not there.
    Create,
    /// Replace the lease as it was read, to take or to keep it.
    Replace,
    /// Nothing for this long.
    Wait(Duration),
    /// Leadership is over, and must not be taken up again by this candidate.
    Lost,
}

#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    /// When this candidate first saw it.
    since: Clock,
    /// Whether the lease has gone since. Its last record still counts: its holder may not know yet.
    gone: bool,
}

/// One that holds the lease or wants to.
#[derive(Debug, Clone)]
pub struct Candidate {
    identity: String,
    times: Times,
    seen: Option<Seen>,
    /// Whether what was seen may be acted upon without another look.
    fresh: bool,
    /// When the last renewal that is known to have succeeded was sent.
    renewed: Option<Clock>,
    /// Nothing is to be done before.
    next: Clock,
}

impl Candidate {
    /// A candidate that knows nothing. No other, before or after, may have the same identity.
    #[must_use]
    pub fn new(identity: String, times: Times) -> Self {
        Self { identity, times, seen: None, fresh: false, renewed: None, next: Clock::ZERO }
    }

    /// When it stops being the holder, if it is one and nothing more succeeds.
    #[must_use]
    pub fn held_until(&self) -> Option<Clock> {
        self.renewed.map(|renewed| renewed + self.times.deadline)
    }

    /// Whether it may act as the holder.
    #[must_use]
    pub fn holds(&self, now: Clock) -> bool {
        self.held_until().is_some_and(|until| now < until)
    }

    /// What to do next.
    #[must_use]
    pub fn decide(&self, now: Clock) -> Decision {
        let held_until = self.held_until();
        if held_until.is_some_and(|until| now >= until) {
            return Decision::Lost;
        }
        let seen = self.seen.as_ref().filter(|_| self.fresh);
        if held_until.is_some() && seen.is_some_and(|seen| seen.record.holder != self.identity) {
            return Decision::Lost;
        }
        if now < self.next {
            let until = held_until.map_or(self.next, |until| until.min(self.next));
            return Decision::Wait(until.saturating_sub(now));
        }
        match seen {
            None => Decision::Read,
            Some(seen) if seen.gone => Decision::Create,
            Some(_) => Decision::Replace,
        }
    }

    /// When the lease can be taken from another; `None` where no other holds it.
    fn free_at(&self, seen: &Seen) -> Option<Clock> {
        let holder = &seen.record.holder;
        if holder.is_empty() || *holder == self.identity {
            return None;
        }
        // A holder of another version may count on more time than this one grants.
        Some(seen.since + seen.record.duration.clamp(self.times.duration, MAX_DURATION))
    }

    /// The lease was read; `None` is that there is none.
    pub fn read(&mut self, record: Option<Record>, now: Clock) {
        let gone = record.is_none();
        let before = self.seen.take();
        let nobody = Record { holder: String::new(), version: String::new(), duration: Duration::ZERO };
        self.seen = Some(match (record, before) {
            (Some(record), Some(before)) if record.version == before.record.version => {
                Seen { gone: false, ..before }
            }
            (Some(record), _) => Seen { record, since: now, gone },
            (None, Some(before)) => Seen { gone, ..before },
            (None, None) => Seen { record: nobody, since: now, gone },
        });
        self.fresh = true;
        self.next = now;
        if self.renewed.is_none()
            && let Some(at) = self.seen.as_ref().and_then(|seen| self.free_at(seen))
            && now < at
        {
            // The record may change until then.
            self.fresh = false;
            self.next = at.min(now + self.times.retry);
        }
    }

    /// A write that was sent at `sent` made this record; the next is due after `pause`.
    pub fn wrote(&mut self, record: Record, sent: Clock, now: Clock, pause: Duration) {
        self.seen = Some(Seen { record, since: now, gone: false });
        self.fresh = true;
        self.renewed = Some(sent);
        self.next = now + pause;
    }

    /// A request failed, or came too late; whether it was carried out is unknown. The next is due after `pause`.
    pub fn failed(&mut self, now: Clock, pause: Duration) {
        self.fresh = false;
        self.next = now + pause;
    }

    /// How long a request that is sent now may take: what comes after the deadline is of no use to a holder.
    #[must_use]
    pub fn patience(&self, now: Clock) -> Duration {
        let left = self.held_until().map_or(self.times.request, |until| until.saturating_sub(now));
        left.min(self.times.request)
    }
}

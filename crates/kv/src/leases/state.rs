//! What a lease has been through.

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Grant;
use crate::Reason;

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The client finished, and everything is written.
    Complete,
    /// The owner gave it up.
    Released,
    /// Nobody renewed it.
    Expired,
    /// The transfer failed.
    Failed(Reason),
}

impl LeaseEnd {
    /// The reason that the peer is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            // Whoever still uses a completed lease is out of order.
            Self::Complete => Reason::Protocol,
            Self::Released => Reason::LeaseReleased,
            Self::Expired => Reason::LeaseExpired,
            Self::Failed(reason) => reason,
        }
    }
}

/// A lease's state. Time comes in as an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) deadline: Instant,
    /// A client has opened it.
    pub(super) opened: bool,
    /// How it ended, if it has.
    pub(super) end: Option<LeaseEnd>,
}

impl State {
    /// Ends the lease if its time is over; then the end, if there is one.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), LeaseEnd> {
        if self.end.is_none() && now >= self.deadline {
            self.end = Some(LeaseEnd::Expired);
        }
        self.end.map_or(Ok(()), Err)
    }

    /// Ends the lease, if it has not ended otherwise before; then how it ended.
    pub(super) fn end(&mut self, now: Instant, end: LeaseEnd) -> LeaseEnd {
        match self.check(now) {
            Ok(()) => *self.end.insert(end),
            Err(earlier) => earlier,
        }
    }

    /// Opens the lease.
    pub(super) fn open(&mut self, now: Instant) -> Result<(), Reason> {
        if self.opened {
            return Err(Reason::HandleUsed);
        }
        self.check(now).map_err(LeaseEnd::reason)?;
        self.opened = true;
        Ok(())
    }
}

/// A lease, shared by its owner, the table and the transfer.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) grant: Grant,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Record {
    pub(super) fn new(grant: Grant, deadline: Instant) -> Self {
        let state = State { deadline, opened: false, end: None };
        Self { grant, state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Changes the state and wakes whoever waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.send_replace(());
        result
    }

    pub(super) fn check(&self) -> Result<(), LeaseEnd> {
        self.change(|state| state.check(Instant::now()))
    }

    pub(super) fn end(&self, end: LeaseEnd) -> LeaseEnd {
        self.change(|state| state.end(Instant::now(), end))
    }

    pub(super) fn open(&self) -> Result<(), Reason> {
        self.change(|state| state.open(Instant::now()))
    }

    pub(super) fn state(&self) -> State {
        *self.state.lock()
    }

    /// Waits until the lease has ended.
    pub(super) async fn ended(&self) -> LeaseEnd {
        let mut changes = self.changed.subscribe();
        loop {
            let State { deadline, end, .. } = self.state();
            if let Some(end) = end {
                return end;
            }
            // The record holds the sender, so `changed` cannot fail.
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => drop(self.check()),
                _ = changes.changed() => {}
            }
        }
    }
}

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

/// What the owner sees of a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseStatus {
    /// A client has opened it.
    pub opened: bool,
    /// KV bytes read by the client.
    pub pulled_bytes: u64,
    /// KV bytes written by the client.
    pub pushed_bytes: u64,
    /// How it ended, if it has.
    pub end: Option<LeaseEnd>,
}

impl LeaseStatus {
    /// The client finished, and everything is written.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.end == Some(LeaseEnd::Complete)
    }
}

/// A lease's state. Time comes in as an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) deadline: Instant,
    pub(super) status: LeaseStatus,
    /// Reads and writes of the store that are under way.
    pub(super) operations: usize,
}

impl State {
    /// Ends the lease if its time is over; then the end, if there is one.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), LeaseEnd> {
        if self.status.end.is_none() && now >= self.deadline {
            self.status.end = Some(LeaseEnd::Expired);
        }
        self.status.end.map_or(Ok(()), Err)
    }

    /// Ends the lease, if it has not ended otherwise before; then how it ended.
    pub(super) fn end(&mut self, now: Instant, end: LeaseEnd) -> LeaseEnd {
        match self.check(now) {
            Ok(()) => *self.status.end.insert(end),
            Err(earlier) => earlier,
        }
    }

    /// Opens the lease.
    pub(super) fn open(&mut self, now: Instant) -> Result<(), Reason> {
        if self.status.opened {
            return Err(Reason::HandleUsed);
        }
        self.check(now).map_err(LeaseEnd::reason)?;
        self.status.opened = true;
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
        let state = State { deadline, status: LeaseStatus::default(), operations: 0 };
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
            let State { deadline, status, .. } = self.state();
            if let Some(end) = status.end {
                return end;
            }
            // The record holds the sender, so `changed` cannot fail.
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => drop(self.check()),
                _ = changes.changed() => {}
            }
        }
    }

    /// Waits until no read or write of the store is under way.
    pub(super) async fn idle(&self) {
        let mut changes = self.changed.subscribe();
        while self.state().operations > 0 {
            // The record holds the sender, so this cannot fail.
            let _ = changes.changed().await;
        }
    }
}

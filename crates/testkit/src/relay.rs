//! A TCP relay that harms what passes through it: delay, little bandwidth, silence, cuts, half-closed connections,
//! flipped bits, refusals. Every fault counts when it acts, so that a test can prove that it did.

mod connection;
mod faults;
mod pump;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use faults::{Counts, Direction, Faults};

/// A relay on a loopback port. Dropping it ends all its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What the relay and its connections share.
#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    faults: [watch::Sender<Faults>; 2],
    refuse: watch::Sender<bool>,
    /// Counts the calls of [`Relay::cut`]: a connection that sees it grow ends with a reset.
    cuts: watch::Sender<u64>,
    counters: [AtomicU64; Counts::FIELDS],
    stop: CancellationToken,
}

impl Shared {
    fn count(&self, field: usize, by: u64) {
        self.counters[field].fetch_add(by, Ordering::Relaxed);
    }
}

impl Relay {
    /// Listens on a free loopback port and passes each connection on to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: watch::Sender::new(target),
            faults: [watch::Sender::new(Faults::default()), watch::Sender::new(Faults::default())],
            refuse: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            counters: Default::default(),
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, shared.clone(), tasks.clone()));
        Ok(Self { address, shared, tasks })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes new connections on to another place.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.target.send_replace(target);
    }

    /// Sets the faults of one direction, for connections that are there and those that come. Byte positions count from
    /// the start of each connection.
    pub fn set(&self, direction: Direction, faults: Faults) {
        self.shared.faults[direction.index()].send_replace(faults);
    }

    /// Takes all faults back; connections that were cut stay so.
    pub fn heal(&self) {
        self.refuse(false);
        for direction in Direction::BOTH {
            self.set(direction, Faults::default());
        }
    }

    /// Resets every new connection at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuse.send_replace(refuse);
    }

    /// Resets every connection that is there.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::read(&self.shared.counters)
    }

    /// Ends the relay and its connections, and waits for them.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // No descriptors are left for a moment: others need the time to close theirs.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        if *shared.refuse.borrow() {
            shared.count(Counts::REFUSED, 1);
            connection::reset(&stream);
            continue;
        }
        shared.count(Counts::ACCEPTED, 1);
        tasks.spawn(connection::relay(stream, shared.clone()));
    }
}

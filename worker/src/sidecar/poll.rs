//! Calling many peers again and again, each at most once at a time, so that one that hangs delays no other.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Until `stop`, calls every peer that `peers` names at each tick of `every`; a peer whose last call is still under way
/// is left out. `call` must end by itself.
pub(super) async fn poll<P, F>(
    every: Duration,
    stop: CancellationToken,
    mut peers: impl FnMut() -> Vec<(String, P)>,
    mut call: impl FnMut(P) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    let mut under_way = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {
                for (name, peer) in peers() {
                    if under_way.insert(name.clone()) {
                        let call = call(peer);
                        calls.spawn(async move { call.await; name });
                    }
                }
            }
            Some(done) = calls.join_next() => match done {
                Ok(name) => { under_way.remove(&name); }
                Err(error) => {
                    // A call that panicked cannot say whose it was: all are asked again.
                    tracing::error!(error = &error as &dyn std::error::Error, "a poll failed");
                    calls.abort_all();
                    while calls.join_next().await.is_some() {}
                    under_way.clear();
                }
            },
        }
    }
    calls.shutdown().await;
}

/// How often each of `count` peers can be asked when at most `rate` calls a second are to be made, no oftener than
/// `every`.
pub(super) fn paced(every: Duration, count: usize, rate: f64) -> Duration {
    every.max(Duration::from_secs_f64(count as f64 / rate))
}

/// Lets one in `every` through.
#[derive(Debug)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// Whether `every` has passed since this was last true.
    pub(super) fn due(&mut self, every: Duration) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= every);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_hangs_is_asked_once_and_delays_no_other() {
        let (hung, quick) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let stop = CancellationToken::new();
        let peers = {
            let (hung, quick) = (hung.clone(), quick.clone());
            move || {
                vec![("hung".to_owned(), (hung.clone(), true)), ("quick".to_owned(), (quick.clone(), false))]
            }
        };
        let polling =
            tokio::spawn(poll(Duration::from_millis(1), stop.clone(), peers, |(calls, hangs)| async move {
                calls.fetch_add(1, Ordering::Relaxed);
                if hangs {
                    std::future::pending::<()>().await;
                }
            }));
        while quick.load(Ordering::Relaxed) < 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hung.load(Ordering::Relaxed), 1);
        stop.cancel();
        polling.await.unwrap();
    }

    #[test]
    fn many_peers_are_asked_less_often() {
        let every = Duration::from_millis(250);
        assert_eq!(paced(every, 4, 64.0), every);
        assert_eq!(paced(every, 64, 64.0), Duration::from_secs(1));
    }
}

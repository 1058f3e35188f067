//! Transfers over streams in memory: everything arrives, and whatever ends a transfer ends its lease.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::common::by_hand::{bytes, data, open_by_hand};
use crate::common::relay::relay;
use crate::common::{
    END, FINGERPRINT, HISTORY, LAYERS, Owner, ROUND, Store, TOKEN, client, client_with, end_of, hasty, kv,
    limits, move_all, pull_all, push_all, soon,
};
use ampd_kv::frame::{Frame, Welcome};
use ampd_kv::{KvError, Lease, LeaseEnd, Limits, Reason};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

#[tokio::test]
async fn everything_moves_and_is_acknowledged() {
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    assert_eq!(transfer.range(), HISTORY..END);
    let report = soon(move_all(transfer)).await.unwrap();
    soon(task).await.unwrap();
    let (pulled, pushed) = ((LAYERS * HISTORY * TOKEN) as u64, (LAYERS * (END - HISTORY) * TOKEN) as u64);
    assert_eq!((report.pulled.bytes, report.pushed.bytes, report.failure), (pulled, pushed, None));
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Complete));
    let heard = owner.heard.transferred.lock()[0];
    assert_eq!((heard.pulled.bytes, heard.pushed.bytes, heard.failure), (pulled, pushed, None));
    let tokens: usize = owner.store.written.lock().iter().map(|(_, _, tokens)| tokens.len()).sum();
    assert_eq!(tokens, LAYERS * (END - HISTORY));
    assert!(owner.store.written.lock().iter().all(|(round, ..)| *round == ROUND));
    assert_eq!(owner.leases.live(), 0);
}

#[tokio::test]
async fn thousands_of_small_pieces() {
    let (history, end) = (3000, 5000);
    let mut owner = Owner::new(Store::default());
    // Wide enough that more is under way than the owner works on at once.
    Arc::get_mut(&mut owner.server).unwrap().limits.window_bytes = 1 << 20;
    let lease = owner.lease_of(history, end);
    let (stream, task) = owner.stream();
    let limits = Limits { window_bytes: 1 << 20, ..limits() };
    let client = client_with(FINGERPRINT, limits);
    let mut transfer = client.open_stream(stream, &lease.handle()).await.unwrap();
    let mut pieces = transfer.pull(0..LAYERS, 0..history).unwrap();
    let mut pulled = 0;
    while let Some(piece) = soon(pieces.next()).await.unwrap() {
        assert_eq!(piece.data, kv(piece.layer, piece.tokens.clone()));
        pulled += piece.tokens.len();
    }
    assert_eq!(pulled, LAYERS * history);
    for layer in 0..LAYERS {
        for token in history..end {
            soon(transfer.push(layer, token..token + 1, kv(layer, token..token + 1))).await.unwrap();
        }
    }
    soon(transfer.finish()).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Complete));
    soon(task).await.unwrap();
}

/// Whether the lease still opens: nobody has opened it before.
async fn opens(owner: &Owner, lease: &Lease) -> bool {
    let (stream, task) = owner.stream();
    let client = client();
    let opened = soon(client.open_stream(stream, &lease.handle())).await.is_ok();
    soon(client.shutdown()).await;
    soon(task).await.unwrap();
    opened
}

/// Lets a client move everything over a wire that is cut after so many bytes up and down.
async fn with_cut(up: usize, down: usize) -> (bool, usize, usize) {
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (far, task) = owner.stream();
    let (near, middle) = tokio::io::duplex(600);
    let wire = tokio::spawn(relay(middle, far, up, down));
    let client = client();
    let moved = soon(async { move_all(client.open_stream(near, &lease.handle()).await?).await }).await;
    soon(client.shutdown()).await;
    let (upward, downward) = soon(wire).await.unwrap();
    soon(task).await.unwrap();
    let end = end_of(&lease).await;
    assert!(moved.is_err() || end == Some(LeaseEnd::Complete));
    assert_eq!(owner.leases.live(), usize::from(end.is_none()));
    if end.is_none() {
        assert!(opens(&owner, &lease).await, "cut after {up} up, {down} down: a used lease lasts");
    }
    (moved.is_ok(), upward, downward)
}

#[tokio::test]
async fn a_wire_that_is_cut_anywhere_ends_both_sides() {
    let (whole, up, down) = with_cut(usize::MAX, usize::MAX).await;
    assert!(whole && up > LAYERS * (END - HISTORY) * TOKEN && down > LAYERS * HISTORY * TOKEN);
    // Headers are 16 bytes and every frame is a multiple of 2 long: this meets each frame's ends and its middles.
    for at in (0..up).step_by(2) {
        assert!(!with_cut(at, usize::MAX).await.0, "{at} bytes up");
    }
    for at in (0..down).step_by(2) {
        assert!(!with_cut(usize::MAX, at).await.0, "{at} bytes down");
    }
}

#[tokio::test]
async fn a_transfer_that_is_dropped_at_any_moment_ends_the_lease() {
    for polls in 0.. {
        let owner = Owner::new(Store::default());
        let lease = owner.lease();
        let (stream, task) = owner.stream();
        let client = client();
        let done = {
            let mut moving =
                pin!(async { move_all(client.open_stream(stream, &lease.handle()).await?).await });
            let mut left = polls;
            soon(std::future::poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(false);
                }
                left -= 1;
                moving.as_mut().poll(context).map(|moved| moved.is_ok())
            }))
            .await
        };
        soon(task).await.unwrap();
        soon(client.shutdown()).await;
        let end = end_of(&lease).await;
        if done {
            assert!(end == Some(LeaseEnd::Complete) && polls > 10);
            return;
        }
        assert!(end.is_some() || opens(&owner, &lease).await, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn silent_peers_are_given_up() {
    let owner = Owner::with_limits(Store::default(), hasty());
    let lease = owner.lease();
    let (stream, task) = open_by_hand(&owner, &lease).await;
    assert_eq!(soon(lease.ended()).await, LeaseEnd::Failed(Reason::Timeout));
    drop(stream);
    soon(task).await.unwrap();

    // An owner that opens and then says nothing.
    let (near, mut far) = tokio::io::duplex(4096);
    let lease = owner.lease();
    let client = client_with(FINGERPRINT, hasty());
    let handle = lease.handle();
    let opening = client.open_stream(near, &handle);
    let greeting = async {
        let welcome = Frame::Welcome(Welcome { version: 1, data_bytes: 1 << 20 });
        far.write_all(&bytes(&welcome)).await.unwrap();
        far.write_all(&bytes(&Frame::Opened { history: 4, end: 8 })).await.unwrap();
    };
    let (mut transfer, ()) = tokio::join!(async { opening.await.unwrap() }, greeting);
    assert!(matches!(soon(transfer.failed()).await, KvError::Timeout { .. }));
    let error = soon(transfer.push(0, 4..8, kv(0, 4..8))).await.unwrap_err();
    assert!(matches!(error, KvError::Timeout { .. }));
}

#[tokio::test]
async fn pings_keep_an_idle_transfer_open() {
    let owner = Owner::with_limits(Store::default(), hasty());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let client = client_with(FINGERPRINT, hasty());
    let mut transfer = client.open_stream(stream, &lease.handle()).await.unwrap();
    let quiet = tokio::time::timeout(2 * hasty().progress, transfer.failed()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(end_of(&lease).await, None);
    soon(pull_all(&mut transfer)).await.unwrap();
    drop(transfer);
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_ends_the_transfer() {
    let owner = Owner::with_limits(Store { gate: Semaphore::new(0), ..Store::default() }, hasty());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let mut transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    let error = soon(pull_all(&mut transfer)).await.unwrap_err();
    assert!(matches!(error, KvError::Refused(Reason::Store)), "{error}");
    drop(transfer);
    soon(task).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(Reason::Store)));
}

#[tokio::test]
async fn the_lease_of_a_failed_transfer_ends_before_the_store_is_done() {
    let owner = Owner::new(Store { gate: Semaphore::new(0), ..Store::default() });
    let lease = owner.lease();
    let (mut stream, task) = open_by_hand(&owner, &lease).await;
    for frame in [data(0, HISTORY..16), Frame::Abort] {
        stream.write_all(&bytes(&frame)).await.unwrap();
    }
    let end = tokio::time::timeout(limits().progress / 4, lease.ended()).await;
    assert_eq!(end, Ok(LeaseEnd::Failed(Reason::Aborted)));
    assert!(!task.is_finished(), "the write is under way");
    owner.store.gate.add_permits(1);
    drop(stream);
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_ends_stops_the_transfer_after_the_block_under_way() {
    for released in [true, false] {
        let owner = Owner::new(Store { gate: Semaphore::new(0), ..Store::default() });
        let lease = owner.lease();
        let (stream, task) = owner.stream();
        let mut transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
        transfer.push(0, HISTORY..16, kv(0, HISTORY..16)).await.unwrap();
        soon(async {
            while *owner.store.begun.lock() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let end = if released {
            lease.release();
            LeaseEnd::Released
        } else {
            lease.renew(Duration::from_millis(20)).unwrap();
            LeaseEnd::Expired
        };
        assert_eq!(soon(lease.ended()).await, end);
        assert!(!task.is_finished(), "the write is under way");
        owner.store.gate.add_permits(1);
        let failure = soon(transfer.failed()).await;
        let expected = if released { Reason::LeaseReleased } else { Reason::LeaseExpired };
        assert_eq!(failure.reason(), expected);
        assert!(push_all(&mut transfer).await.is_err());
        soon(task).await.unwrap();
        assert_eq!(*owner.store.written.lock(), [(ROUND, 0, HISTORY..16)]);
        assert_eq!(*owner.store.begun.lock(), 1, "nothing is written after the lease's end");
    }
}

#[tokio::test]
async fn renewals_keep_a_slow_transfer_going() {
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let mut transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    let ttl = Duration::from_secs(1);
    let started = tokio::time::Instant::now();
    let renewing = async {
        let mut ticks = tokio::time::interval(ttl / 5);
        loop {
            ticks.tick().await;
            lease.renew(ttl).unwrap();
        }
    };
    let moving = async {
        pull_all(&mut transfer).await.unwrap();
        tokio::time::sleep_until(started + 2 * ttl).await;
        push_all(&mut transfer).await.unwrap();
        transfer.finish().await.unwrap()
    };
    tokio::select! {
        () = renewing => {}
        _ = soon(moving) => {}
    }
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Complete));
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_ends_the_transfer() {
    let owner = Owner::new(Store { failing: true, ..Store::default() });
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    assert_eq!(soon(move_all(transfer)).await.unwrap_err().reason(), Reason::Store);
    soon(task).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(Reason::Store)));
}

#[tokio::test]
async fn shutdowns_end_transfers() {
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    owner.shutdown.cancel();
    assert_eq!(soon(transfer.failed()).await.reason(), Reason::ShuttingDown);
    soon(task).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(Reason::ShuttingDown)));

    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let client = client();
    let transfer = client.open_stream(stream, &lease.handle()).await.unwrap();
    soon(client.shutdown()).await;
    assert!(matches!(soon(transfer.failed()).await, KvError::ShuttingDown));
    soon(task).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(Reason::Disconnected)));
}

#[tokio::test]
async fn an_aborted_transfer_and_wrong_requests() {
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    let (stream, task) = owner.stream();
    let mut transfer = client().open_stream(stream, &lease.handle()).await.unwrap();
    assert!(transfer.pull(0..LAYERS + 1, 0..1).is_err());
    assert!(transfer.pull(0..1, 0..HISTORY + 1).is_err());
    assert!(transfer.push(0, HISTORY - 1..HISTORY, kv(0, HISTORY - 1..HISTORY)).await.is_err());
    assert!(transfer.push(LAYERS, HISTORY..15, kv(0, HISTORY..15)).await.is_err());
    let error = transfer.push(0, HISTORY..16, kv(0, HISTORY..15)).await.unwrap_err();
    assert_eq!(error.to_string(), "KV of 14..16 has 32 bytes, expected 64");
    // Wrong requests harm nothing; a pull that is left alone forbids the next.
    pull_all(&mut transfer).await.unwrap();
    drop(soon(transfer.pull(0..LAYERS, 0..HISTORY).unwrap().next()).await.unwrap());
    assert!(transfer.pull(0..1, 0..1).is_err());
    soon(transfer.abort()).await;
    soon(task).await.unwrap();
    assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(Reason::Aborted)));
}

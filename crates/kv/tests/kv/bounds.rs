//! Peers that ask for much, take nothing or acknowledge nothing: memory and time stay bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::common::by_hand::{bytes, data, open_by_hand};
use crate::common::{
    BLOCK, FINGERPRINT, LAYERS, Owner, Store, TOKEN, client, client_with, hasty, kv, limits, soon,
};
use ampd_kv::frame::{Frame, FrameError, Span, Welcome};
use ampd_kv::{KvClient, KvError, Reason, Transfer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Semaphore;

/// Blocks of KV that a transfer may have under way.
const WINDOW: usize = limits_window() / (BLOCK * TOKEN);
/// How long something that must not happen is waited for.
const WHILE: Duration = Duration::from_millis(300);

const fn limits_window() -> usize {
    5 * BLOCK * TOKEN
}

#[tokio::test]
async fn a_client_that_reads_nothing_has_little_read_for_it() {
    let blocks = 500;
    assert_eq!(limits().window_bytes as usize, limits_window());
    let owner = Owner::new(Store::default());
    let lease = owner.lease_of(blocks * BLOCK, blocks * BLOCK + 1);
    let (mut stream, task) = open_by_hand(&owner, &lease).await;
    let asking = async {
        for layer in 0..LAYERS as u32 {
            for block in 0..blocks {
                let span = Span { layer, start: (block * BLOCK) as u32, count: BLOCK as u32 };
                stream.write_all(&bytes(&Frame::Pull(span))).await.unwrap();
            }
        }
    };
    assert!(tokio::time::timeout(WHILE, asking).await.is_err(), "the owner reads on without end");
    // The stream in memory holds a few blocks more.
    let begun = *owner.store.begun.lock();
    assert!((WINDOW..2 * WINDOW + 2).contains(&begun), "{begun} blocks were read");
    drop(stream);
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_client_that_pushes_faster_than_the_store_writes_is_held_back() {
    let blocks = 500;
    let owner = Owner::new(Store { gate: Semaphore::new(0), ..Store::default() });
    let lease = owner.lease_of(0, blocks * BLOCK);
    let (mut stream, task) = open_by_hand(&owner, &lease).await;
    let pushing = async {
        for layer in 0..LAYERS {
            for block in 0..blocks {
                let tokens = block * BLOCK..(block + 1) * BLOCK;
                stream.write_all(&bytes(&data(layer, tokens))).await.unwrap();
            }
        }
    };
    assert!(tokio::time::timeout(WHILE, pushing).await.is_err(), "the owner reads on without end");
    let begun = *owner.store.begun.lock();
    assert_eq!(begun, WINDOW, "blocks are being written");
    owner.store.gate.add_permits(100);
    drop(stream);
    soon(task).await.unwrap();
}

/// An owner by hand that has opened a lease of the tokens 4..64, and its client's transfer.
async fn opened_by_hand(client: &KvClient) -> (DuplexStream, Transfer) {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    greet(&mut far).await;
    let handle = Owner::new(Store::default()).lease().handle();
    (far, soon(client.open_stream(near, &handle)).await.unwrap())
}

async fn greet(stream: &mut (impl AsyncWrite + Unpin)) {
    let welcome = Frame::Welcome(Welcome { version: 1, data_bytes: 1 << 20 });
    for frame in [welcome, Frame::Opened { history: 4, end: 64 }] {
        stream.write_all(&bytes(&frame)).await.unwrap();
    }
}

/// Pushes block by block until that fails.
async fn push_until_failure(transfer: &mut Transfer) -> (usize, KvError) {
    let mut pushed = 0;
    for layer in 0..LAYERS {
        for start in (4..64).step_by(BLOCK) {
            let tokens = start..start + BLOCK;
            match transfer.push(layer, tokens.clone(), kv(layer, tokens)).await {
                Ok(()) => pushed += 1,
                Err(error) => return (pushed, error),
            }
        }
    }
    panic!("everything was pushed");
}

#[tokio::test]
async fn an_owner_that_only_pings_is_given_up_and_gets_no_more_than_the_window() {
    let client = client_with(FINGERPRINT, hasty());
    let (mut owner, mut transfer) = opened_by_hand(&client).await;
    let pinging = async {
        loop {
            owner.write_all(&bytes(&Frame::Ping)).await.unwrap();
            tokio::time::sleep(hasty().ping).await;
        }
    };
    let (pushed, error) = tokio::select! {
        () = pinging => panic!("it pings for ever"),
        failed = soon(push_until_failure(&mut transfer)) => failed,
    };
    assert!(matches!(error, KvError::Timeout { .. }), "{error}");
    assert_eq!(pushed, WINDOW);
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_is_no_progress() {
    let client = client();
    let (mut owner, mut transfer) = opened_by_hand(&client).await;
    owner.write_all(&bytes(&Frame::Ack(0))).await.unwrap();
    let (_, error) = soon(push_until_failure(&mut transfer)).await;
    assert!(matches!(error, KvError::Frame(FrameError::Field("acknowledgement"))), "{error}");
}

/// Takes so many bytes; then the connection is broken.
struct Breaking(usize);

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Poll::Ready(if taken > 0 { Ok(taken) } else { Err(Error::from(ErrorKind::BrokenPipe)) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Opens a transfer whose client can write little more than its greeting.
async fn breaking(client: &KvClient, reader: impl AsyncRead + Send + Unpin + 'static) -> Transfer {
    let handle = Owner::new(Store::default()).lease().handle();
    let stream = tokio::io::join(reader, Breaking(300));
    soon(client.open_stream(stream, &handle)).await.unwrap()
}

#[tokio::test]
async fn a_broken_connection_is_called_so_and_not_a_shutdown() {
    let client = client();
    let (near, mut far) = tokio::io::duplex(1 << 16);
    greet(&mut far).await;
    let mut transfer = breaking(&client, near).await;
    let (_, error) = soon(push_until_failure(&mut transfer)).await;
    assert!(matches!(error, KvError::Io(_)), "{error}");

    // The owner says why before it is gone.
    let (near, mut far) = tokio::io::duplex(1 << 16);
    greet(&mut far).await;
    let mut transfer = breaking(&client, near).await;
    let telling = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        far.write_all(&bytes(&Frame::Error(Reason::LeaseReleased))).await.unwrap();
    };
    let ((_, error), ()) = tokio::join!(soon(push_until_failure(&mut transfer)), telling);
    assert!(matches!(error, KvError::Refused(Reason::LeaseReleased)), "{error}");
}

//! Each fault of the relay, over real connections.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use ampd_testkit::relay::{Counts, Direction, Faults, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(10);

/// Sends back what it gets, connection after connection.
async fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    (address, task)
}

async fn relayed() -> (Relay, TcpStream) {
    let relay = Relay::start(echo().await.0).await.unwrap();
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    (relay, stream)
}

/// Sends `data`, says that it ends, and reads what comes back.
async fn exchange(mut stream: TcpStream, data: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut read, mut write) = stream.split();
    let mut back = Vec::new();
    let send = async {
        // The relay may cut before everything is sent.
        let _ = write.write_all(data).await;
        let _ = write.shutdown().await;
    };
    let both = async { tokio::join!(send, read.read_to_end(&mut back)).1 };
    timeout(LIMIT, both).await.unwrap()?;
    Ok(back)
}

/// Polls the counts until they are as wanted.
async fn eventually(relay: &Relay, wanted: impl Fn(Counts) -> bool) {
    let poll = async {
        while !wanted(relay.counts()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(LIMIT, poll).await.is_ok(), "{:?}", relay.counts());
}

#[tokio::test]
async fn everything_passes_by_default() {
    let (relay, stream) = relayed().await;
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    assert_eq!(exchange(stream, &data).await.unwrap(), data);
    eventually(&relay, |counts| counts.ended == 1).await;
    let counts = relay.counts();
    assert_eq!((counts.bytes_to_target, counts.bytes_to_client), (1_000_000, 1_000_000));
    relay.stop().await;
}

#[tokio::test]
async fn a_flipped_bit_is_the_only_change() {
    let (relay, stream) = relayed().await;
    relay.set(Direction::ToClient, Faults { flip_at: Some(70_000), ..Faults::default() });
    let back = exchange(stream, &vec![8; 100_000]).await.unwrap();
    let changed: Vec<_> = back.iter().enumerate().filter(|(_, byte)| **byte != 8).collect();
    assert_eq!(changed, [(70_000, &9)]);
    assert_eq!(relay.counts().flipped, 1);
}

#[tokio::test]
async fn a_cut_comes_at_its_byte_and_is_a_reset() {
    let (relay, mut stream) = relayed().await;
    relay.set(Direction::ToClient, Faults { cut_at: Some(5), ..Faults::default() });
    stream.write_all(b"12345").await.unwrap();
    let mut back = [0; 5];
    timeout(LIMIT, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"12345");
    stream.write_all(b"6").await.unwrap();
    let error = timeout(LIMIT, stream.read(&mut back)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    eventually(&relay, |counts| counts.cut == 1 && counts.bytes_to_client == 5).await;
}

#[tokio::test]
async fn a_half_close_ends_one_direction_only() {
    let (relay, mut stream) = relayed().await;
    relay.set(Direction::ToClient, Faults { half_close_at: Some(3), ..Faults::default() });
    stream.write_all(b"12345").await.unwrap();
    let mut back = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, b"123");
    stream.write_all(&[0; 1000]).await.unwrap();
    eventually(&relay, |counts| counts.bytes_to_target == 1005 && counts.half_closed == 1).await;
}

#[tokio::test]
async fn a_stall_holds_everything_until_it_is_healed() {
    let (relay, mut stream) = relayed().await;
    relay.set(Direction::ToTarget, Faults { stall: true, ..Faults::default() });
    stream.write_all(b"late").await.unwrap();
    eventually(&relay, |counts| counts.stalled == 1).await;
    let mut back = [0; 4];
    assert!(timeout(Duration::from_millis(50), stream.read_exact(&mut back)).await.is_err());
    relay.heal();
    timeout(LIMIT, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"late");
}

#[tokio::test]
async fn delay_and_bandwidth_take_their_time() {
    let (relay, mut stream) = relayed().await;
    let delay = Duration::from_millis(80);
    relay.set(Direction::ToTarget, Faults { delay, ..Faults::default() });
    let start = Instant::now();
    stream.write_all(b"x").await.unwrap();
    timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap();
    assert!(start.elapsed() >= delay, "{:?}", start.elapsed());
    relay.heal();
    relay.set(Direction::ToClient, Faults { bandwidth: Some(100_000), ..Faults::default() });
    let start = Instant::now();
    assert_eq!(exchange(stream, &vec![1; 20_000]).await.unwrap().len(), 20_000);
    assert!(start.elapsed() >= Duration::from_millis(180), "{:?}", start.elapsed());
}

#[tokio::test]
async fn connections_are_refused_and_cut_on_request() {
    let (relay, mut stream) = relayed().await;
    stream.write_all(b"x").await.unwrap();
    timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap();
    relay.cut();
    assert!(timeout(LIMIT, stream.read_u8()).await.unwrap().is_err());
    relay.refuse(true);
    let refused = TcpStream::connect(relay.address()).await.unwrap();
    assert!(exchange(refused, b"x").await.is_err());
    relay.refuse(false);
    let healed = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(exchange(healed, b"x").await.unwrap(), b"x");
    eventually(&relay, |counts| (counts.accepted, counts.refused, counts.cut) == (2, 1, 1)).await;
}

#[tokio::test]
async fn new_connections_go_to_another_target() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let relay = Relay::start(nowhere).await.unwrap();
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    assert!(exchange(stream, b"x").await.is_err(), "nobody listens");
    relay.retarget(echo().await.0);
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(exchange(stream, b"x").await.unwrap(), b"x");
}

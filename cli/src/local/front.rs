//! One address for all sidecars: each connection goes to the next ready one, as a Kubernetes Service does it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ampd_worker::process::{file_limit, raise_file_limit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at the same time, where open files allow it; more wait to be accepted.
const MAX_CONNECTIONS: u64 = 8192;
/// Open files that are for other things than connections, each of which takes two.
const OTHER_FILES: u64 = 256;
/// Longest wait for a sidecar to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which is out of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Passes connections on until `stop`; connections that are still open `grace` later are cut.
pub(crate) async fn serve(
    listener: TcpListener,
    ready: watch::Receiver<Vec<SocketAddr>>,
    stop: CancellationToken,
    grace: Duration,
) {
    let (next, tasks) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
    raise_file_limit();
    let files = file_limit().saturating_sub(OTHER_FILES);
    let connections = (files / 2).clamp(1, MAX_CONNECTIONS) as usize;
    let (slots, cut) = (Arc::new(Semaphore::new(connections)), CancellationToken::new());
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (ready, next, cut) = (ready.clone(), Arc::clone(&next), cut.clone());
        tasks.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = cut.cancelled() => {}
                () = pass_on(client, &ready, &next) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

/// Joins a client with the next sidecar that takes it. Without any, the client's connection is closed, which clients
/// take as a reason to try again.
async fn pass_on(mut client: TcpStream, ready: &watch::Receiver<Vec<SocketAddr>>, next: &AtomicUsize) {
    let sidecars = ready.borrow().clone();
    let first = next.fetch_add(1, Ordering::Relaxed);
    for offset in 0..sidecars.len() {
        let address = sidecars[first.wrapping_add(offset) % sidecars.len()];
        let connecting = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address));
        if let Ok(Ok(mut sidecar)) = connecting.await {
            // Tokens are small and late ones are seen: neither side may wait to fill a segment.
            let _ = client.set_nodelay(true).and_then(|()| sidecar.set_nodelay(true));
            // An end of one direction is passed on and leaves the other open; an error ends both.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut sidecar).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A front before servers that answer with their name and what they got, once the client has ended its direction.
    struct Setup {
        address: SocketAddr,
        ready: watch::Sender<Vec<SocketAddr>>,
        stop: CancellationToken,
        front: tokio::task::JoinHandle<()>,
    }

    async fn setup() -> Setup {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, receiver) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let front = tokio::spawn(serve(listener, receiver, stop.clone(), Duration::from_millis(200)));
        Setup { address, ready, stop, front }
    }

    async fn server(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).await.unwrap();
                    stream.write_all(name.as_bytes()).await.unwrap();
                    stream.write_all(&got).await.unwrap();
                });
            }
        });
        address
    }

    async fn ask(address: SocketAddr, text: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn connections_go_round_and_past_a_dead_sidecar_and_an_ended_direction_leaves_the_other() {
        let setup = setup().await;
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        setup.ready.send_replace(vec![server("a ").await, dead, server("b ").await]);
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(ask(setup.address, b"hello").await);
        }
        assert_eq!(answers.iter().filter(|answer| *answer == "a hello").count(), 2);
        assert_eq!(answers.iter().filter(|answer| *answer == "b hello").count(), 4, "{answers:?}");
        setup.stop.cancel();
        setup.front.await.unwrap();
        assert!(TcpStream::connect(setup.address).await.is_err(), "the port is given back");
    }

    #[tokio::test]
    async fn with_no_sidecar_the_connection_ends_and_open_ones_are_cut_at_the_end() {
        let setup = setup().await;
        let mut stream = TcpStream::connect(setup.address).await.unwrap();
        let mut rest = Vec::new();
        assert!(matches!(stream.read_to_end(&mut rest).await, Ok(0) | Err(_)));
        setup.ready.send_replace(vec![server("a").await]);
        let mut open = TcpStream::connect(setup.address).await.unwrap();
        open.write_all(b"x").await.unwrap();
        setup.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), setup.front).await.unwrap().unwrap();
        assert!(matches!(open.read_to_end(&mut rest).await, Ok(0) | Err(_)));
    }
}

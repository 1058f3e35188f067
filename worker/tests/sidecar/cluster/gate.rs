//! A way to a server that can be closed: refused, or silent like a process that was stopped.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing passes, and nothing is closed.
    Frozen,
    /// Connections are cut, and new ones refused.
    Refused,
}

/// Passes connections on to a server.
pub struct Gate {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Gate {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, mut changes) = watch::channel(State::Open);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = changes.wait_for(|state| *state == State::Refused) => return,
                };
                if let Ok((client, _)) = accepted {
                    tokio::spawn(pass(client, server, changes.clone()));
                }
            }
        });
        Self { address, state }
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Nothing passes any more, as if the server were stopped.
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// Everything passes again.
    pub fn thaw(&self) {
        self.state.send_replace(State::Open);
    }

    /// Cuts all connections and refuses new ones for ever.
    pub fn refuse(&self) {
        self.state.send_replace(State::Refused);
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut changes: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let there = copy(client_read, server_write, changes.clone());
    let back = copy(server_read, client_write, changes.clone());
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = changes.wait_for(|state| *state == State::Refused) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut changes: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 1 << 14];
    loop {
        let Ok(read) = from.read(&mut buffer).await else { return };
        if changes.wait_for(|state| *state != State::Frozen).await.is_err() || read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

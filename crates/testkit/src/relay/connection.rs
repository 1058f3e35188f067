//! One connection through a relay.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::pump::{End, pump};
use super::{Counts, Direction, Shared};

/// Longest wait for the target to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes the next close of `stream` a reset.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = stream.set_zero_linger();
}

/// Passes bytes both ways until both directions have ended or one is cut.
pub(super) async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let target = *shared.target.borrow();
    match tokio::time::timeout(CONNECT, TcpStream::connect(target)).await {
        Ok(Ok(server)) => pass(client, server, &shared).await,
        // A target that refuses is seen by the client as one that breaks off.
        _ => reset(&client),
    }
    shared.count(Counts::ENDED, 1);
}

async fn pass(mut client: TcpStream, mut server: TcpStream, shared: &Shared) {
    // Both calls fail only on sockets that are gone already.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cuts = shared.cuts.subscribe();
    let whole = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(
                pump(client_read, server_write, Direction::ToTarget, shared),
                pump(server_read, client_write, Direction::ToClient, shared),
            )
        };
        tokio::select! {
            ended = both => ended.map(|_| ()),
            // The sender lives as long as `shared` does.
            _ = cuts.changed() => Err(End::Cut),
            () = shared.stop.cancelled() => Err(End::Broken),
        }
    };
    if let Err(end) = whole {
        if end == End::Cut {
            shared.count(Counts::CUT, 1);
        }
        reset(&client);
        reset(&server);
    }
}

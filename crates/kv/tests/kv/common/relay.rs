//! A wire that ends where a test wants it to end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

/// Passes bytes between a client and an owner, at most `up` to the owner and `down` to the client; then the wire is cut.
/// Returns how many passed.
pub async fn relay(client: DuplexStream, owner: DuplexStream, up: usize, down: usize) -> (usize, usize) {
    let (client_in, client_out) = tokio::io::split(client);
    let (owner_in, owner_out) = tokio::io::split(owner);
    let (mut upward, mut downward) = (0, 0);
    // Whichever direction ends first ends the wire.
    tokio::select! {
        () = pass(client_in, owner_out, up, &mut upward) => {}
        () = pass(owner_in, client_out, down, &mut downward) => {}
    }
    (upward, downward)
}

async fn pass(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    limit: usize,
    passed: &mut usize,
) {
    let mut buffer = [0; 256];
    while *passed < limit {
        let room = buffer.len().min(limit - *passed);
        let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        *passed += read;
    }
}

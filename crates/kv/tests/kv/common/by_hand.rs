//! Clients that speak frame by frame, so that they can break the rules.

use std::ops::Range;

use ampd_kv::Lease;
use ampd_kv::frame::{Frame, Hello, Span};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

use super::{FINGERPRINT, Owner, kv, soon};

/// Opens a lease by hand, for a client that then breaks the rules.
pub async fn open_by_hand(owner: &Owner, lease: &Lease) -> (DuplexStream, JoinHandle<()>) {
    let (mut stream, task) = owner.stream();
    let hello =
        Hello { min_version: 1, max_version: 1, role: 1, fingerprint: FINGERPRINT, data_bytes: 1 << 20 };
    for frame in [Frame::Hello(hello), Frame::Open(lease.handle())] {
        stream.write_all(&frame.encode().0).await.unwrap();
    }
    let mut answers = [0; 2 * (16 + 8)];
    soon(stream.read_exact(&mut answers)).await.unwrap();
    (stream, task)
}

/// A frame's bytes.
pub fn bytes(frame: &Frame) -> Vec<u8> {
    let (head, [first, second]) = frame.encode();
    [head, first, second].concat()
}

/// A data frame with the right KV.
pub fn data(layer: usize, tokens: Range<usize>) -> Frame {
    let span = Span { layer: layer as u32, start: tokens.start as u32, count: tokens.len() as u32 };
    Frame::Data(span, [kv(layer, tokens), Bytes::new()])
}

//! Who is refused, and with which reason: other models, wrong handles, broken rules, other protocols.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::time::Duration;

use crate::common::by_hand::{bytes, data, open_by_hand};
use crate::common::{
    END, FINGERPRINT, HISTORY, Owner, Store, client, client_with, end_of, hasty, kv, limits, soon,
};
use ampd_kv::frame::{Frame, Hello, Span};
use ampd_kv::{Dtype, Fingerprint, KvError, LeaseEnd, Reason};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn peers_that_differ_are_refused_with_the_difference() {
    let cases = [
        (Fingerprint { model_digest: [8; 32], ..FINGERPRINT }, Reason::ModelDigest),
        (Fingerprint { dtype: Dtype::F16, ..FINGERPRINT }, Reason::Dtype),
        (Fingerprint { layout: 2, ..FINGERPRINT }, Reason::Layout),
        (Fingerprint { block_tokens: 8, ..FINGERPRINT }, Reason::BlockTokens),
        (Fingerprint { layers: 4, ..FINGERPRINT }, Reason::Layers),
        (Fingerprint { kv_heads: 1, ..FINGERPRINT }, Reason::KvHeads),
        (Fingerprint { head_dim: 8, ..FINGERPRINT }, Reason::HeadDim),
        (Fingerprint { tensor_parallel: 2, ..FINGERPRINT }, Reason::TensorParallel),
    ];
    let owner = Owner::new(Store::default());
    let lease = owner.lease();
    for (fingerprint, reason) in cases {
        let (stream, task) = owner.stream();
        let error =
            client_with(fingerprint, limits()).open_stream(stream, &lease.handle()).await.unwrap_err();
        assert!(matches!(error, KvError::Refused(refused) if refused == reason), "{error}");
        soon(task).await.unwrap();
        assert_eq!(owner.heard.refused.lock().pop(), Some(reason));
    }
    assert_eq!(end_of(&lease).await, None, "a refused peer does not use the handle up");
}

#[tokio::test]
async fn handles_open_once_for_whom_they_were_given_to() {
    let owner = Owner::new(Store::default());
    let refused = async |handle| {
        let (stream, task) = owner.stream();
        let result = client().open_stream(stream, &handle).await;
        let reason = result.as_ref().err().map(KvError::reason);
        drop(result);
        soon(task).await.unwrap();
        reason
    };
    let first = owner.lease();
    let unknown = "00000000000000000000000000000000".parse().unwrap();
    assert_eq!(refused(unknown).await, Some(Reason::UnknownHandle));
    assert_eq!(refused(first.handle()).await, None);
    assert_eq!(refused(first.handle()).await, Some(Reason::HandleUsed));
    let released = owner.lease();
    released.release();
    assert_eq!(refused(released.handle()).await, Some(Reason::LeaseReleased));
    let handle = owner.lease().handle();
    assert_eq!(refused(handle).await, Some(Reason::UnknownHandle), "a dropped lease is forgotten");
    let expired = owner.lease();
    expired.renew(Duration::ZERO).unwrap();
    assert_eq!(refused(expired.handle()).await, Some(Reason::LeaseExpired));
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_which() {
    let pull = |layer, start, count| bytes(&Frame::Pull(Span { layer, start, count }));
    let mut flipped = bytes(&data(0, HISTORY..16));
    flipped[40] ^= 1;
    let short = Frame::Data(Span { layer: 0, start: HISTORY as u32, count: 2 }, [kv(0, 0..1), Bytes::new()]);
    let large = data(0, HISTORY..HISTORY + 9);
    let cases = [
        (pull(3, 0, 1), Reason::OutOfRange),
        (pull(0, HISTORY as u32, 1), Reason::OutOfRange),
        (pull(0, 0, 9), Reason::OutOfRange),
        (bytes(&data(3, HISTORY..15)), Reason::OutOfRange),
        (bytes(&data(0, HISTORY - 1..HISTORY)), Reason::OutOfRange),
        (bytes(&data(0, END..END + 1)), Reason::OutOfRange),
        ([bytes(&data(0, 20..22)), bytes(&data(0, 21..23))].concat(), Reason::Duplicate),
        (flipped, Reason::Checksum),
        (bytes(&short), Reason::Protocol),
        (bytes(&large), Reason::Protocol),
        (bytes(&Frame::Finish), Reason::Incomplete),
        (bytes(&Frame::Abort), Reason::Aborted),
        (bytes(&Frame::Finished), Reason::Protocol),
        (vec![b'G'; 16], Reason::Checksum),
    ];
    for (sent, reason) in cases {
        let owner = Owner::new(Store::default());
        let lease = owner.lease();
        let (mut stream, task) = open_by_hand(&owner, &lease).await;
        stream.write_all(&sent).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.ends_with(&bytes(&Frame::Error(reason))), "{reason}");
        drop(stream);
        soon(task).await.unwrap();
        assert_eq!(end_of(&lease).await, Some(LeaseEnd::Failed(reason)));
        assert_eq!(owner.heard.transferred.lock()[0].failure, Some(reason));
    }
}

#[tokio::test]
async fn greetings_of_other_protocols_are_refused() {
    let hello = Hello { min_version: 2, max_version: 3, role: 1, fingerprint: FINGERPRINT, data_bytes: 1 };
    let own = Hello { min_version: 1, max_version: 1, ..hello };
    let mut dtype = bytes(&Frame::Hello(own))[16..].to_vec();
    dtype[13] = 200;
    let mut foreign = dtype.clone();
    foreign[0] = b'X';
    let reframe = |body: &[u8]| {
        let mut frame = bytes(&Frame::Hello(own))[..16].to_vec();
        frame[8..12].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        let checksum = crc32c::crc32c(&frame[..12]);
        frame[12..].copy_from_slice(&checksum.to_le_bytes());
        [&frame, body].concat()
    };
    let cases = [
        (bytes(&Frame::Hello(hello)), Reason::Version),
        (bytes(&Frame::Hello(Hello { role: 3, ..own })), Reason::Role),
        (reframe(&dtype), Reason::Dtype),
        (reframe(&foreign), Reason::Protocol),
        (b"GET / HTTP/1.1\r\nHost: kv\r\n\r\n".to_vec(), Reason::Checksum),
        (bytes(&data(0, HISTORY..15)), Reason::Protocol),
        (bytes(&Frame::Ping), Reason::Protocol),
        (Vec::new(), Reason::Timeout),
    ];
    for (sent, reason) in cases {
        let limits = if reason == Reason::Timeout { hasty() } else { limits() };
        let owner = Owner::with_limits(Store::default(), limits);
        let (mut stream, task) = owner.stream();
        stream.write_all(&sent).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, bytes(&Frame::Error(reason)), "{reason}");
        drop(stream);
        soon(task).await.unwrap();
        assert_eq!(*owner.heard.refused.lock(), [reason]);
    }
}

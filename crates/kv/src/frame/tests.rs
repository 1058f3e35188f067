use proptest::prelude::*;

use super::*;
use crate::{Dtype, Fingerprint};

const MAX_DATA: u32 = 4096;

fn span() -> impl Strategy<Value = Span> {
    (any::<u32>(), 0_u32..1 << 20, 1_u32..1 << 20).prop_map(|(layer, start, count)| Span {
        layer,
        start,
        count,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<[u32; 6]>(), any::<[u8; 32]>(), any::<(u8, u16)>(), 0_u8..3).prop_map(
        |(numbers, model_digest, (role, layout), dtype)| {
            let [block_tokens, layers, kv_heads, head_dim, tensor_parallel, data_bytes] = numbers;
            let dtype = [Dtype::Bf16, Dtype::F16, Dtype::F32][usize::from(dtype)];
            let fingerprint = Fingerprint {
                model_digest,
                dtype,
                layout,
                block_tokens,
                layers,
                kv_heads,
                head_dim,
                tensor_parallel,
            };
            Hello { min_version: 1, max_version: 3, role, fingerprint, data_bytes }
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let reasons: Vec<_> = Reason::all().collect();
    prop_oneof![
        hello().prop_map(Frame::Hello),
        any::<u32>().prop_map(|data_bytes| Frame::Welcome(Welcome { version: VERSION, data_bytes })),
        any::<[u8; 16]>().prop_map(|bytes| Frame::Open(Handle(bytes))),
        (0_u32..1000, 1000..u32::MAX).prop_map(|(history, end)| Frame::Opened { history, end }),
        span().prop_map(Frame::Pull),
        (span(), prop::collection::vec(any::<u8>(), 1..MAX_DATA as usize), any::<prop::sample::Index>())
            .prop_map(|(span, bytes, at)| {
                let mut first = Bytes::from(bytes);
                let second = first.split_off(at.index(first.len() + 1));
                Frame::Data(span, [first, second])
            }),
        any::<u64>().prop_map(Frame::Ack),
        prop::sample::select(reasons).prop_map(Frame::Error),
        prop::sample::select(vec![Frame::Finish, Frame::Finished, Frame::Abort, Frame::Ping]),
    ]
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let (head, [first, second]) = frame.encode();
    [head, first, second].concat()
}

/// As it is received: all KV in the first part.
fn received(frame: &Frame) -> Frame {
    match frame {
        Frame::Data(span, parts) => Frame::Data(*span, [parts.concat().into(), Bytes::new()]),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn frames_there_and_back(frames in prop::collection::vec(frame(), 1..5)) {
        let mut bytes = Bytes::from(frames.iter().flat_map(bytes_of).collect::<Vec<_>>());
        for frame in &frames {
            prop_assert_eq!(decode(&mut bytes, MAX_DATA), Ok(Some(received(frame))));
        }
        prop_assert_eq!(decode(&mut bytes, MAX_DATA), Ok(None));
    }

    #[test]
    fn no_part_of_a_frame_is_a_frame(frame in frame(), at in any::<prop::sample::Index>()) {
        let whole = bytes_of(&frame);
        let length = at.index(whole.len());
        let mut part = Bytes::copy_from_slice(&whole[..length]);
        prop_assert_eq!(decode(&mut part, MAX_DATA), Ok(None));
        prop_assert_eq!(part.len(), length);
    }

    #[test]
    fn every_changed_bit_is_noticed(frame in frame(), at in any::<prop::sample::Index>()) {
        let mut changed = bytes_of(&frame);
        let bit = at.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(decode(&mut changed.into(), MAX_DATA), Err(FrameError::Checksum));
    }

    #[test]
    fn no_header_promises_more_than_was_agreed_on(
        length in prop_oneof![any::<u32>(), 0_u32..100],
        kind in 0_u8..20,
        max_data in prop_oneof![Just(0), 0_u32..8192],
    ) {
        let header = Header { kind, length, checksum: 0 }.to_bytes();
        if let Ok(header) = Header::parse(&header, max_data) {
            let most = if kind == header::kind::DATA { max_data as usize + 12 } else { 72 };
            prop_assert!(header.body_bytes() <= most);
        }
    }

    #[test]
    fn arbitrary_bodies_are_frames_or_errors(kind in 0_u8..20, mut body in prop::collection::vec(any::<u8>(), 0..100)) {
        for length in [0, 2, 8, 12, 16, 72, body.len()] {
            body.resize(length, 7);
            let header = Header { kind, length: length as u32, checksum: crc32c::crc32c(&body) };
            let bytes = [&header.to_bytes()[..], &body].concat();
            if let Ok(Some(frame)) = decode(&mut bytes.clone().into(), MAX_DATA) {
                // Only what later versions may say is read as something else.
                if !matches!(frame, Frame::Error(Reason::Protocol)) {
                    prop_assert_eq!(bytes_of(&frame), bytes);
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let header = |kind, length| Header { kind, length, checksum: 0 }.to_bytes();
    assert_eq!(Header::parse(&header(99, 0), 0), Err(FrameError::Kind(99)));
    let huge = FrameError::Length { kind: 6, length: u32::MAX };
    assert_eq!(Header::parse(&header(6, u32::MAX), u32::MAX - 13), Err(huge));
    assert_eq!(Header::parse(&header(6, 13), 0), Err(FrameError::Length { kind: 6, length: 13 }));
    assert_eq!(Header::parse(&header(6, 12), 64), Err(FrameError::Length { kind: 6, length: 12 }));
    assert!(Header::parse(&header(6, 13), 1).is_ok());

    let fingerprint = Fingerprint {
        model_digest: [0; 32],
        dtype: Dtype::Bf16,
        layout: 1,
        block_tokens: 1,
        layers: 1,
        kv_heads: 1,
        head_dim: 1,
        tensor_parallel: 1,
    };
    let hello = Hello { min_version: 2, max_version: 9, role: 1, fingerprint, data_bytes: 1 };
    let decoded = decode(&mut bytes_of(&Frame::Hello(hello)).into(), 0);
    assert_eq!(decoded, Err(FrameError::Version { min: 2, max: 9 }));
    let end = u32::MAX;
    for (start, count) in [(0, 0), (end, 1), (1, end)] {
        let pull = Frame::Pull(Span { layer: 0, start, count });
        assert_eq!(decode(&mut bytes_of(&pull).into(), 0), Err(FrameError::Field("token range")));
    }
}

#[tokio::test]
async fn a_reader_takes_what_a_writer_wrote_and_notices_the_end() {
    let frames = [Frame::Ping, Frame::Ack(5), Frame::Finish];
    let bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
    for length in 0..=bytes.len() {
        let mut reader = FrameReader::new(&bytes[..length], std::time::Duration::from_secs(5));
        let mut got = Vec::new();
        let error = loop {
            match reader.next().await {
                Ok(frame) => got.push(frame),
                Err(error) => break error,
            }
        };
        let whole = [16, 40, 56].iter().filter(|end| **end <= length).count();
        assert_eq!(got, frames[..whole]);
        assert!(
            matches!(error, ReadError::Io(ref error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
        );
    }
}

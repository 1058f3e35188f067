//! Arbitrary bytes: no panic, no endless session, no growth. The fuzz targets run the same entry points.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use crate::common::{CERTIFICATES, entry};
use proptest::prelude::*;

/// What a client could say, well-formed as a frame, plausible in its fields.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let span = (0_u32..3, 0_u32..15, 0_u32..10).prop_map(|(layer, start, count)| {
        [layer, start, count].iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<u8>>()
    });
    let whole = |kind: u8, body: Vec<u8>| {
        let length = body.len() as u8;
        [vec![kind, length], body].concat()
    };
    prop_oneof![
        4 => (span.clone(), any::<bool>()).prop_map(move |(span, right)| {
            let count = usize::from(span[8]);
            let kv = vec![0; if right { count * 8 } else { count * 8 + 1 }];
            whole(6, [span, kv].concat())
        }),
        2 => span.prop_map(move |span| whole(5, span)),
        1 => Just(whole(8, Vec::new())),
        1 => Just(whole(12, Vec::new())),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(move |(kind, body)| whole(kind, body)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames(data in prop::collection::vec(any::<u8>(), 0..600)) {
        entry::frames(&data);
    }

    #[test]
    fn sessions(start in any::<u8>(), frames in prop::collection::vec(frame(), 0..12)) {
        let tls = std::sync::Arc::new(CERTIFICATES.decode.server_config().unwrap());
        entry::session(&tls, &[vec![start], frames.concat()].concat());
    }
}

#[test]
fn a_script_can_complete_a_transfer() {
    // Otherwise the sessions above would never get beyond refusals.
    let tls = std::sync::Arc::new(CERTIFICATES.decode.server_config().unwrap());
    let data = |layer: u8| [vec![6, 12 + 56, layer, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0], vec![0; 56]].concat();
    entry::session(&tls, &[vec![2], data(0), data(1), vec![8, 0]].concat());
}

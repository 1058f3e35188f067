//! The frame decoder on arbitrary bytes.

#![no_main]

#[path = "../../tests/kv/common/entry.rs"]
#[allow(dead_code)]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::frames(data));

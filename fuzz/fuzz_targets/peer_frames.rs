//! Hands any bytes to `peer_frames` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::peer_frames(bytes));

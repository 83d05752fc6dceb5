//! Hands any bytes to `state_codecs` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::state_codecs(bytes));

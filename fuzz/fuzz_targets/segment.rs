//! Hands any bytes to `segment` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::store::segment(bytes));

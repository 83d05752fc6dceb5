//! Hands any bytes to `query_and_cursor` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::query_and_cursor(bytes));

//! Hands any bytes to `record_check` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::record_check(bytes));

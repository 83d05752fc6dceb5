//! Hands any bytes to `kafka_requests` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::kafka_requests(bytes));

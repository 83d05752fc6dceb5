//! Hands any bytes to `json_line` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| balsa::fuzzing::json_line(bytes));

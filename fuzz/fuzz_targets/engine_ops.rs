//! libFuzzer's way into `jq_fuzz::engine_ops`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::engine_ops::run(data));

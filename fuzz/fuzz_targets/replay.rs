//! libFuzzer's way into `jq_fuzz::replay`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::replay::run(data));

//! libFuzzer's way into `jq_fuzz::decoder`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::decoder::run(data));

//! libFuzzer's way into `jq_fuzz::result`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::result::run(data));

//! libFuzzer's way into `jq_fuzz::journal`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::journal::run(data));

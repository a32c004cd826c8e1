//! libFuzzer's way into `jq_fuzz::job`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::job::run(data));

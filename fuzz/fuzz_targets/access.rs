//! libFuzzer's way into `jq_fuzz::access`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::access::run(data));

//! libFuzzer's way into `jq_fuzz::packs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jq_fuzz::packs::run(data));

#![no_main]
#![doc = "See `gate_fuzz::jwks`."]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gate_fuzz::jwks::check(bytes));

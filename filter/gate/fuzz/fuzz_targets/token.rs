#![no_main]
#![doc = "See `gate_fuzz::token`."]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gate_fuzz::token::check(bytes));

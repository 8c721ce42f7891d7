#![no_main]
#![doc = "See `gate_fuzz::policy`."]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gate_fuzz::policy::check(bytes));

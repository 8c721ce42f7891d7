#![no_main]
#![doc = "See `gate_fuzz::headers`."]

use gate_fuzz::headers::{Input, check};

libfuzzer_sys::fuzz_target!(|input: Input| check(&input));

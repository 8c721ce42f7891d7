use super::*;

/// The secret of RFC 6238, appendix B, and its codes for SHA-1, of which the last six digits count.
const SECRET: [u8; SECRET_BYTES] = *b"12345678901234567890";
const VECTORS: [(u64, &str); 6] = [
    (59, "94287082"),
    (1_111_111_109, "07081804"),
    (1_111_111_111, "14050471"),
    (1_234_567_890, "89005924"),
    (2_000_000_000, "69279037"),
    (20_000_000_000, "65353130"),
];

#[test]
fn codes_are_those_of_the_rfc() {
    for (time_s, code) in VECTORS {
        let totp = totp(SECRET).unwrap();
        let code = &code[2..];
        assert_eq!(totp.check(code, time_s), Some(time_s / 30));
        // One step to either side, and no further.
        for (skew_s, holds) in [(-60, false), (-30, true), (30, true), (60, false)] {
            let at = time_s.saturating_add_signed(skew_s);
            let far_enough = at.abs_diff(time_s) == skew_s.unsigned_abs();
            assert_eq!(totp.check(code, at) == Some(time_s / 30), holds || !far_enough, "{time_s} {skew_s}");
        }
    }
}

#[test]
fn only_six_digits_are_a_code() {
    let totp = totp(SECRET).unwrap();
    for code in ["94287082", "28708", "2870820", "", "-87082", "+87082", "28708x", "٢٨٧٠٨٢"] {
        assert_eq!(totp.check(code, 59), None, "{code}");
    }
}

#[test]
fn recovery_codes_are_known_however_they_are_typed() {
    assert_eq!(recovery_code([0; RECOVERY_BYTES]), "0000-0000-0000-0000");
    assert_eq!(recovery_code([255; RECOVERY_BYTES]), "zzzz-zzzz-zzzz-zzzz");
    let (codes, hashes) = recovery_codes();
    assert_eq!((codes.len(), hashes.len()), (RECOVERY_CODES, RECOVERY_CODES));
    for (code, hashed) in codes.iter().zip(&hashes) {
        assert_eq!(code.len(), 19);
        assert_eq!(*hashed, hash(&code.to_uppercase().replace('-', " ")));
        assert_eq!(hashes.iter().filter(|other| *other == hashed).count(), 1);
    }
}

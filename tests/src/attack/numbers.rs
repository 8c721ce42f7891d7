//! Arithmetic on signatures, and DER. Numbers are big-endian bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::mint::decoded;

/// The order of P-256 (FIPS 186-4, D.1.2.3).
pub(super) const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// The order of P-384 (FIPS 186-4, D.1.2.4).
pub(super) const P384_ORDER: &str =
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
/// The order of edwards25519 (RFC 8032, section 5.1).
pub(super) const ED25519_ORDER: &str = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";

/// Bytes from hexadecimal digits.
pub(super) fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The sum, one byte longer if it has to be.
pub(super) fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut sum = Vec::new();
    let mut carry = 0_u16;
    for index in 0..a.len().max(b.len()) {
        let digit = |number: &[u8]| number.iter().rev().nth(index).map_or(0, |byte| u16::from(*byte));
        carry += digit(a) + digit(b);
        sum.push(carry as u8);
        carry >>= 8;
    }
    if carry > 0 {
        sum.push(carry as u8);
    }
    sum.reverse();
    sum
}

/// The difference, as long as the first number, which is the larger one.
pub(super) fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut difference = Vec::new();
    let mut borrow = 0_i16;
    for (index, byte) in a.iter().rev().enumerate() {
        let digit = i16::from(*byte) - b.iter().rev().nth(index).map_or(0, |byte| i16::from(*byte)) - borrow;
        borrow = i16::from(digit < 0);
        difference.push((digit & 0xff) as u8);
    }
    difference.reverse();
    difference
}

/// One DER value.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let size = match length {
        0..0x80 => vec![length as u8],
        0x80..0x100 => vec![0x81, length as u8],
        _ => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [&[tag], &size[..], content].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    tagged(2, &[sign, &digits].concat())
}

/// A JOSE signature, `R || S`, as DER.
pub(super) fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    tagged(0x30, &[integer(r), integer(s)].concat())
}

/// A public key as its SubjectPublicKeyInfo (RFC 5280, section 4.1).
pub(super) fn public_key_der(jwk: &Value) -> Vec<u8> {
    let member = |name: &str| decoded(jwk[name].as_str().unwrap()).unwrap();
    let point = || [vec![4], member("x"), member("y")].concat();
    let (identifier, key) = match jwk["crv"].as_str() {
        Some("Ed25519") => ("300506032b6570", member("x")),
        Some("P-256") => ("301306072a8648ce3d020106082a8648ce3d030107", point()),
        Some("P-384") => ("301006072a8648ce3d020106052b81040022", point()),
        _ => {
            let pair = [integer(&member("n")), integer(&member("e"))].concat();
            ("300d06092a864886f70d0101010500", tagged(0x30, &pair))
        }
    };
    tagged(0x30, &[hex(identifier), tagged(3, &[vec![0], key].concat())].concat())
}

/// A public key as PEM (RFC 7468).
pub(super) fn public_key_pem(jwk: &Value) -> String {
    let text = STANDARD.encode(public_key_der(jwk));
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences() {
        assert_eq!(add(&[0xff, 0xff], &[1]), [1, 0, 0]);
        assert_eq!(subtract(&[1, 0, 0], &[1]), [0, 0xff, 0xff]);
        let order = hex(P256_ORDER);
        assert_eq!(add(&subtract(&order, &[7]), &[7]), order);
    }

    #[test]
    fn der_is_minimal() {
        assert_eq!(ecdsa_der(&[0, 1, 0, 0x80]), hex("30070201010202 0080".replace(' ', "").as_str()));
        assert_eq!(ecdsa_der(&[0, 0]), hex("3006020100020100"));
    }
}

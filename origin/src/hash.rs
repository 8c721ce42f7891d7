//! SHA-256 as text, and with a key.

use std::fmt::Write as _;
use std::io::{self, Read};

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of the parts one after the other, as 64 hexadecimal digits.
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// The SHA-256 of all that a reader still has.
///
/// # Errors
/// The reader's.
pub fn sha256_hex_of(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// HMAC-SHA256 over a kind and parts, each with its length before it.
pub fn keyed(key: &[u8; 32], kind: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
    // As long as a block, so that no length can be wrong (RFC 2104, section 2).
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_kinds_and_parts_make_a_difference() {
        use hmac::Mac as _;
        let mac = |key: u8, kind, parts: &[&[u8]]| super::keyed(&[key; 32], kind, parts).finalize().into_bytes();
        let one = mac(1, "a", &[b"b", b"c"]);
        assert_eq!(one, mac(1, "a", &[b"b", b"c"]));
        for other in
            [mac(2, "a", &[b"b", b"c"]), mac(1, "ab", &[b"", b"c"]), mac(1, "a", &[b"bc"]), mac(1, "a", &[b"", b"bc"])]
        {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_empty_hash() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256_hex(&[b"", b""]), empty);
    }
}

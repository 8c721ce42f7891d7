//! RSA and ECDSA signatures, verified by the host.
//!
//! Inside wasm one RS256 or ES256 verification takes the better part of a millisecond; Envoy's own
//! library does it in a fraction of that. So the gate's verifiers ask the host first, and fall
//! back to plain Rust where a host has no such function. The gate neither knows nor cares.
//!
//! The host hashes with what it is told and takes PKCS#1 v1.5 for RSA and DER for ECDSA, so only
//! RS256/384/512 and ES256/384 go there; everything else stays in the module.

use gate::keys::verify_portably;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::errors::Result;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use signature::{Error, Verifier};

use crate::host;

struct HostVerifier {
    algorithm: Algorithm,
    hash: &'static str,
    /// SubjectPublicKeyInfo (RFC 5280, section 4.1), DER.
    public_key: Vec<u8>,
    portable: Box<dyn JwtVerifier>,
}

/// A verifier that asks the host where the host can.
pub(crate) fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // Made in any case: it refuses a point that is not on its curve.
    let portable = verify_portably(algorithm, key)?;
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::ES256 => "sha256",
        Algorithm::RS384 | Algorithm::ES384 => "sha384",
        Algorithm::RS512 => "sha512",
        _ => return Ok(portable),
    };
    Ok(match public_key_info(*algorithm, key) {
        Some(public_key) => Box::new(HostVerifier { algorithm: *algorithm, hash, public_key, portable }),
        None => portable,
    })
}

impl Verifier<Vec<u8>> for HostVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let der;
        let sent: &[u8] = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                der = ecdsa_to_der(self.algorithm, signature).ok_or_else(Error::new)?;
                &der
            }
            _ => signature,
        };
        match host::verify_signature(self.hash, &self.public_key, sent, message) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new()),
            Err(_) => self.portable.verify(message, signature),
        }
    }
}

impl JwtVerifier for HostVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// `R || S` of a JOSE signature (RFC 7518, section 3.4) as a DER sequence of two integers.
fn ecdsa_to_der(algorithm: Algorithm, signature: &[u8]) -> Option<Vec<u8>> {
    let size = if algorithm == Algorithm::ES256 { 32 } else { 48 };
    let (r, s) = signature.split_at_checked(size)?;
    (s.len() == size).then(|| tagged(0x30, &[integer(r), integer(s)]))
}

fn public_key_info(algorithm: Algorithm, key: &DecodingKey) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    const P256: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07,
    ];
    const P384: &[u8] =
        &[0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let (identifier, material) = match (algorithm, key.kind()) {
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) if point.len() == 65 => (P256, point.clone()),
        (Algorithm::ES384, DecodingKeyKind::SecretOrDer(point)) if point.len() == 97 => (P384, point.clone()),
        (Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            (RSA, tagged(0x30, &[integer(n), integer(e)]))
        }
        _ => return None,
    };
    Some(tagged(0x30, &[identifier.to_vec(), tagged(0x03, &[vec![0], material])]))
}

/// A positive DER integer from big-endian bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let digits = bytes.get(first..).unwrap_or_default();
    let sign = if digits.first().is_some_and(|byte| *byte >= 0x80) { vec![0] } else { Vec::new() };
    tagged(0x02, &[sign, digits.to_vec()])
}

/// One DER value: tag, length, content.
fn tagged(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![tag];
    match length.as_slice() {
        [] => value.push(0),
        [short] if *short < 0x80 => value.push(*short),
        long => {
            value.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            value.extend(long);
        }
    }
    value.extend(content);
    value
}

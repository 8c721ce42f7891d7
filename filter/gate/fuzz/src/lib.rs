//! What must hold of the gate for any input at all.
//!
//! Each module is one target: `check` takes what libFuzzer made and panics where a promise is
//! broken. Wherever it can, it asks by other means than the gate's own.

/// The gate's public door, the only place that knows the shape of its requests and verdicts.
pub mod door;
/// A request is judged by its one canonical reading, and keeps nothing that it may not keep.
pub mod headers;
/// A key set is sound, or it is refused.
pub mod jwks;
/// A policy that is accepted is the same policy after it was written down and read again.
pub mod policy;
/// The golden table: what is sound, to begin with.
pub mod table;
/// Nobody is recognised but by a token that was issued.
pub mod token;

/// Takes every `%XX` for the byte that it stands for.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut pieces = text.split('%');
    let mut decoded = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        decoded.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        decoded.extend(piece[2..].bytes());
    }
    decoded
}

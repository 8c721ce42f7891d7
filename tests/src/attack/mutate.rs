//! Every way to damage a sound token.

use super::forms::other_tails;
use super::{Case, Family, Site, with_token};

const FLIPPED: Family = Family { name: "sound token, one bit flipped", through: "the signature does not cover it" };
const CUT: Family = Family { name: "sound token, cut short", through: "the token is accepted" };
const LONGER: Family = Family { name: "sound token, something appended", through: "the token is accepted" };

/// Of all flips of one bit, in the order of characters and bits, every so many-th. Up to 8 no
/// character is left out; without a divisor in common with 8, every bit has its turn.
pub(super) fn cases(site: &Site, of: &str, token: &str, every: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, bit) in (0..token.len() * 8).step_by(every).map(|flip| (flip / 8, flip % 8)) {
        let mut bytes = token.as_bytes().to_vec();
        bytes[place] ^= 1 << bit;
        cases.push(with_token(site, &FLIPPED, format!("{of}: bit {bit} at {place}"), bytes));
    }
    for length in 0..token.len() {
        cases.push(with_token(site, &CUT, format!("{of}: {length} bytes"), &token[..length]));
    }
    for more in appended() {
        let name = format!("{of}: {:?}", String::from_utf8_lossy(&more));
        cases.push(with_token(site, &LONGER, name, [token.as_bytes(), &more].concat()));
    }
    for tail in token.rsplit_once('.').map_or(Vec::new(), |(_, signature)| other_tails(signature)) {
        let parts = &token[..token.len() - tail.len()];
        cases.push(with_token(site, &LONGER, format!("{of}: other bits at its end"), format!("{parts}{tail}")));
    }
    cases
}

/// Nothing that ends in a space or tab: those belong to the header's syntax, not to its value.
fn appended() -> Vec<Vec<u8>> {
    let texts = [
        "A",
        "a",
        "0",
        "-",
        "_",
        "=",
        "==",
        "AA",
        "AAA",
        "AAAA",
        "+",
        "/",
        "~",
        ".",
        "..",
        ".A",
        ".AAAA",
        "%00",
        "%20",
        "%3d",
        ",",
        ",x",
        ";",
        ";x=y",
        " x",
        "\tx",
        " Bearer x",
        "\"",
        "'",
        "\\",
        "é",
        "\u{0}",
        "\u{1}",
        "\u{7f}",
        "\u{feff}",
        "\n",
        "\rx",
        "\r\n",
    ];
    let mut appended: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    appended.extend([vec![0x80], vec![0xff], vec![0xc0, 0xaf]]);
    // A line break alone ends the header, and the token before it is sound.
    appended.retain(|more| !more.ends_with(b"\n"));
    appended
}

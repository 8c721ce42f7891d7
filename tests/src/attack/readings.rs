//! JSON that two readers read differently, or that is none. An issuer signed all of it.

use serde_json::Value;

use super::mint::{self, ALGORITHMS, Mint};
use super::{Case, Family, Site, with_token};

const JSON: Family =
    Family { name: "JSON that two readers read differently", through: "a signed token with such JSON is accepted" };

pub(super) fn cases(site: &Site, mint: &Mint) -> Vec<Case> {
    let algorithm = &ALGORITHMS[0];
    let header = Value::Object(mint::header(algorithm)).to_string();
    let claims = Value::Object(mint::claims(algorithm)).to_string();
    let first = |text: &str, member: &[u8]| [b"{", member, b",", &text.as_bytes()[1..]].concat();
    let last = |text: &str, member: &[u8]| [&text.as_bytes()[..text.len() - 1], b",", member, b"}"].concat();
    let mut texts: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut put = |name: String, header: Vec<u8>, claims: Vec<u8>| texts.push((name, header, claims));
    let doubled = [
        r#""sub":"bob""#,
        r#""role":"admin""#,
        r#""iss":"https://twin.example""#,
        r#""aud":"other""#,
        r#""exp":9007199254740991"#,
        r#""iat":1"#,
        r#""scope":"all""#,
        r#""r\u006fle":"admin""#,
        r#""\u0073ub":"bob""#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[{"a":1,"\u0061":2}]"#,
    ];
    for member in doubled {
        put(format!("{member} first"), header.clone().into(), first(&claims, member.as_bytes()));
        put(format!("{member} last"), header.clone().into(), last(&claims, member.as_bytes()));
    }
    for member in [r#""alg":"none""#, r#""alg":"EdDSA""#, r#""kid":"nobody""#, r#""typ":"JWT""#, r#""\u0061lg":"none""#]
    {
        put(format!("{member} first, header"), first(&header, member.as_bytes()), claims.clone().into());
        put(format!("{member} last, header"), last(&header, member.as_bytes()), claims.clone().into());
    }
    let members: [&[u8]; 24] = [
        b"\"x\":\"\xff\"",
        b"\"x\":\"\xc0\xaf\"",
        b"\"x\":\"\xed\xa0\x80\"",
        b"\"x\":\"\xf8\x88\x80\x80\x80\"",
        b"\"\xff\":1",
        br#""x":"\ud800""#,
        br#""x":"\udc00\ud800""#,
        br#""x":"\ud800x""#,
        br#""\ud800":1"#,
        b"\"x\":\"\0\"",
        b"\"x\":\"\x01\"",
        b"\"x\":\"\n\"",
        b"\"x\":NaN",
        b"\"x\":Infinity",
        b"\"x\":-Infinity",
        b"\"x\":01",
        b"\"x\":+1",
        b"\"x\":0x10",
        b"\"x\":1.",
        b"\"x\":.5",
        b"\"x\":1e999",
        b"'x':1",
        b"x:1",
        br#""x":"\q""#,
    ];
    for member in members {
        let name = String::from_utf8_lossy(member).into_owned();
        put(name.clone(), header.clone().into(), last(&claims, member));
        put(format!("{name}, header"), last(&header, member), claims.clone().into());
    }
    let (open, close) = (&claims[..claims.len() - 1], "}");
    for text in [
        format!("\u{feff}{claims}"),
        format!("{claims}{{}}"),
        format!("{claims} x"),
        format!("{claims}\0"),
        format!("{open},{close}"),
        format!("{open}/* c */{close}"),
        format!("{claims}// c"),
        format!("[{claims}]"),
        format!("{claims},{claims}"),
        open.to_owned(),
        format!("\"{}\"", claims.replace('"', "\\\"")),
        "null".to_owned(),
        "7".to_owned(),
        "true".to_owned(),
        String::new(),
        " ".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        claims.replace('"', "'"),
    ] {
        put(
            format!("claims: {:?}", text.chars().rev().take(6).collect::<String>()),
            header.clone().into(),
            text.into(),
        );
    }
    let wide: Vec<u8> = claims.encode_utf16().flat_map(u16::to_le_bytes).collect();
    put("claims in UTF-16".to_owned(), header.clone().into(), wide);
    texts
        .iter()
        .map(|(name, header, claims)| with_token(site, &JSON, name, mint.text(algorithm, header, claims)))
        .collect()
}

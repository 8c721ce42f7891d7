//! Identity that a client claims for itself.

use super::http2::Stream;
use super::wire::{self, Request};
use super::{CANARY, Case, Family, Goal, Shot, Site};

const PLAIN: Family =
    Family { name: "claimed identity header, HTTP/1.1", through: "the client's value reaches the origin" };
const HOP: Family = Family {
    name: "identity header named in `Connection`",
    through: "the edge's own header is lost, or the client's arrives",
};
const TRAILERS: Family =
    Family { name: "claimed identity in trailers", through: "the client's value reaches the origin" };
const PLAIN2: Family =
    Family { name: "claimed identity header, HTTP/2", through: "the client's value reaches the origin" };
const SPLIT: Family =
    Family { name: "line breaks and odd names, HTTP/2", through: "one header becomes two behind the edge" };

const NAMES: [&str; 8] = [
    "x-user-id",
    "x-user-role",
    "x-user-scope",
    "x-user",
    "x-user-email",
    "x-cosygate-identity",
    "x-cosygate",
    "x-cosygate-role",
];

/// The same name as another server may read it.
fn spellings(name: &str) -> Vec<Vec<u8>> {
    let title = |separator: &str| -> String {
        let word = |word: &str| format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        name.split('-').map(word).collect::<Vec<_>>().join(separator)
    };
    let mixed = |(index, letter): (usize, char)| if index % 2 == 0 { letter.to_ascii_uppercase() } else { letter };
    let mut spellings = vec![
        name.to_owned(),
        title("-"),
        name.to_uppercase(),
        name.chars().enumerate().map(mixed).collect(),
        name.replace('-', "_"),
        title("_"),
        name.to_uppercase().replace('-', "_"),
        name.replacen('-', "_", 1),
        name.replace('-', "."),
        format!("{name}-"),
        format!("{name}\t"),
        format!("{name} "),
        format!(" {name}"),
        format!("{name}\0"),
        format!("\x0b{name}"),
    ];
    if let Some((start, end)) = name.rsplit_once('-') {
        spellings.push(format!("{start}_{end}"));
    }
    spellings.sort();
    spellings.dedup();
    let mut spellings: Vec<Vec<u8>> = spellings.into_iter().map(String::into_bytes).collect();
    // The soft hyphen of Latin-1.
    spellings.push(name.as_bytes().iter().map(|byte| if *byte == b'-' { 0xad } else { *byte }).collect());
    spellings
}

/// Where it is tried: what anybody may call, what a user may call, and what nobody may without a
/// token. Whom the edge must name there.
fn places(site: &Site) -> Vec<(&'static str, String, Option<&str>, Option<String>)> {
    let mut places = vec![("no token", site.path.clone(), None, None)];
    if let Some(token) = &site.token {
        places.push(("with a token", site.path.clone(), Some(token.as_str()), site.user.clone()));
    }
    if site.open.is_some() {
        places.push(("public", "/".to_owned(), None, None));
    }
    places
}

pub(super) fn cases(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, target, token, user) in places(site) {
        let mut put = |family, name: String, shot| {
            let goal = Goal::Claim { user: user.clone() };
            cases.push(Case { family, name: format!("{place}: {name}"), shot, goal, code: None });
        };
        let start = || wire::request("GET", &target, &site.host);
        for name in NAMES {
            for spelling in spellings(name) {
                for (how, request) in repeated(start(), &spelling, token) {
                    put(
                        &PLAIN,
                        format!("{:?} {how}", String::from_utf8_lossy(&spelling)),
                        Shot::Raw(request.close().bytes()),
                    );
                }
                let name = String::from_utf8_lossy(&spelling).into_owned();
                let stream = Stream::new("GET", &target, &site.host).bearer(token);
                let twice = stream.clone().field(&spelling, CANARY).field(&spelling, CANARY);
                put(&PLAIN2, format!("{name:?} once"), Shot::Http2(stream.field(&spelling, CANARY)));
                put(&PLAIN2, format!("{name:?} twice"), Shot::Http2(twice));
            }
            for (how, request) in hops(start(), name, token) {
                put(&HOP, format!("{name} {how}"), Shot::Raw(request.bytes()));
            }
            for (how, shot) in trailers(site, &target, name, token) {
                put(&TRAILERS, format!("{name} {how}"), shot);
            }
        }
        for (how, stream) in split(Stream::new("GET", &target, &site.host).bearer(token)) {
            put(&SPLIT, how, Shot::Http2(stream));
        }
    }
    cases
}

fn repeated(start: Request, name: &[u8], token: Option<&str>) -> Vec<(&'static str, Request)> {
    let early = start.clone().header(name, CANARY).bearer(token);
    vec![
        ("before", early.clone()),
        ("after", start.clone().bearer(token).header(name, CANARY)),
        ("on both sides", early.header(name, CANARY)),
        ("in a list", start.clone().bearer(token).header(name, format!("alice, {CANARY}"))),
        ("folded", start.bearer(token).header(name, format!("alice\r\n {CANARY}"))),
    ]
}

fn hops(start: Request, name: &str, token: Option<&str>) -> Vec<(&'static str, Request)> {
    let start = start.bearer(token);
    let line = |value: String| start.clone().header("connection", value);
    vec![
        ("named", line(format!("close, {name}"))),
        ("named first", line(format!("{name}, close"))),
        ("named and sent", line(format!("close, {name}")).header(name, CANARY)),
        ("named in capitals", line(format!("close, {}", name.to_uppercase()))),
        ("in Proxy-Connection", start.clone().header("proxy-connection", name).close()),
        ("in Keep-Alive", line(format!("close, keep-alive, {name}")).header("keep-alive", name)),
        ("in TE", line(format!("close, te, {name}")).header("te", format!("trailers, {name}"))),
        ("with an upgrade", line(format!("upgrade, {name}")).header("upgrade", "websocket").header(name, CANARY)),
    ]
}

fn trailers(site: &Site, target: &str, name: &str, token: Option<&str>) -> Vec<(&'static str, Shot)> {
    let start = wire::request("GET", target, &site.host).bearer(token).close();
    let chunked = start.header("transfer-encoding", "chunked");
    let end = format!("1\r\nx\r\n0\r\n{name}: {CANARY}\r\n\r\n");
    let upper = format!("0\r\n{}: {CANARY}\r\n{}: {CANARY}\r\n\r\n", name.to_uppercase(), name.replace('-', "_"));
    let extension = format!("1;{name}={CANARY}\r\nx\r\n0;{name}=\"{CANARY}\"\r\n\r\n");
    let announced = chunked.clone().header("trailer", name).header("te", "trailers");
    let stream = Stream::new("GET", target, &site.host).bearer(token);
    let spoken = stream.clone().field("te", "trailers").field("trailer", name);
    vec![
        ("chunked", Shot::Raw(chunked.clone().follow(&end).bytes())),
        ("announced", Shot::Raw(announced.follow(&end).bytes())),
        ("other spellings", Shot::Raw(chunked.clone().follow(upper).bytes())),
        ("in a chunk's extension", Shot::Raw(chunked.follow(extension).bytes())),
        ("over HTTP/2", Shot::Http2(stream.clone().trailer(name, CANARY))),
        ("over HTTP/2 after a body", Shot::Http2(spoken.body("x").trailer(name, CANARY))),
        ("over HTTP/2 with _", Shot::Http2(stream.trailer(name.replace('-', "_"), CANARY))),
    ]
}

/// What HTTP/2 can carry and HTTP/1.1 cannot: a header that ends where the attacker likes.
fn split(stream: Stream) -> Vec<(String, Stream)> {
    let mut cases = Vec::new();
    for end in ["\r\n", "\n", "\r", "\0", "\r\n "] {
        let inside = format!("x{end}x-user-id: {CANARY}");
        let name = |what: &str| format!("{end:?} in {what}");
        cases.push((name("a value"), stream.clone().field("x-innocent", &inside)));
        cases.push((name("a name"), stream.clone().field(format!("x-innocent: y{end}x-user-id"), CANARY)));
        cases.push((
            name("the path"),
            stream.clone().replace(":path", format!("/ HTTP/1.1{end}x-user-id: {CANARY}{end}x: y")),
        ));
        cases.push((
            name("the method"),
            stream.clone().replace(":method", format!("GET / HTTP/1.1{end}x-user-id: {CANARY}{end}x: y")),
        ));
        cases.push((name("the authority"), stream.clone().replace(":authority", &inside)));
        cases.push((name("the scheme"), stream.clone().replace(":scheme", format!("http{end}x-user-id: {CANARY}"))));
        cases.push((name("a cookie"), stream.clone().field("cookie", format!("a=b{end}x-user-id: {CANARY}"))));
        cases.push((name("te"), stream.clone().field("te", format!("trailers{end}x-user-id: {CANARY}"))));
    }
    for name in
        ["x-user-id:", ":x-user-id", "x-user-id: x", "x user-id", "(x-user-id)", "x-user-id;", "\u{ff58}-user-id", ""]
    {
        cases.push((format!("the name {name:?}"), stream.clone().field(name, CANARY)));
    }
    let early = |name: &str, value: &str| {
        let mut stream = stream.clone();
        stream.fields.insert(0, (name.into(), value.into()));
        stream
    };
    cases.push(("before the pseudo-headers".to_owned(), early("x-user-id", CANARY)));
    cases.push(("named in connection".to_owned(), stream.clone().field("connection", "x-user-id")));
    cases.push((
        "a second path".to_owned(),
        stream.clone().field(":path", "/api/admin/policy").field("x-user-id", CANARY),
    ));
    cases.push(("a second method".to_owned(), stream.clone().field(":method", "POST").field("x-user-id", CANARY)));
    cases.push(("an unknown pseudo-header".to_owned(), stream.clone().field(":user", CANARY)));
    cases.push((
        "a protocol".to_owned(),
        stream.replace(":method", "CONNECT").field(":protocol", "websocket").field("x-user-id", CANARY),
    ));
    cases
}

//! Credentials, methods, hosts and headers that mean something to a proxy.

use gate::identity::{KeyRing, Sealed};
use serde_json::json;

use super::http2::Stream;
use super::mint::{self, ALGORITHMS, AUDIENCE, Mint};
use super::wire::{self, Request};
use super::{CANARY, Case, Family, Goal, SMUGGLED, Shot, Site, with_token};

const TWO: Family = Family { name: "two credentials at once", through: "edge and origin may pick different ones" };
const PLACES: Family =
    Family { name: "token in an odd place", through: "a credential that leaks into logs and links is accepted" };
const SEALED: Family =
    Family { name: "sealed identity as bearer token", through: "what is meant for the origin opens the edge" };
const METHODS: Family = Family { name: "odd methods, no token", through: "a method is not guarded" };
const HOSTS: Family = Family { name: "odd hosts and protocols, no token", through: "the request reaches the origin" };
const UPGRADES: Family = Family { name: "upgrades and CONNECT, no token", through: "a tunnel is open" };
const BYTES: Family = Family { name: "odd bytes in headers, no token", through: "the filter stumbles and lets pass" };
const PROXY: Family = Family {
    name: "headers that steer or deceive a proxy",
    through: "`x-forwarded-*`, `x-envoy-*`, `x-original-*` … of the client reach the origin",
};

pub(super) fn cases(site: &Site) -> Vec<Case> {
    let mut cases = places(site);
    cases.extend(two(site));
    cases.extend(methods(site));
    cases.extend(hosts(site));
    cases.extend(upgrades(site));
    cases.extend(bytes(site));
    cases.extend(proxy(site));
    cases
}

fn arrive(family: &'static Family, name: impl Into<String>, request: &Request) -> Case {
    Case { family, name: name.into(), shot: Shot::Raw(request.bytes()), goal: Goal::Arrive, code: None }
}

fn get(site: &Site) -> Request {
    wire::request("GET", &site.path, &site.host)
}

/// What a sealed header says, of whoever makes it.
pub(super) fn sealed(user: &str, role: &str, method: &str, target: &str) -> Sealed<'static> {
    let now = mint::now();
    serde_json::from_value(json!({
        "iss": "edge:test", "aud": "origin", "sub": user, "sub_iss": ALGORITHMS[0].issuer, "role": role,
        "jti": format!("{user}-{now}"),
        "iat": now, "exp": now + 30, "htm": method, "htu": target, "rev": 1
    }))
    .unwrap()
}

/// What needs the keys of an issuer, or the edge's own.
pub(super) fn with_key(site: &Site, mint: &Mint, ring: &str) -> Vec<Case> {
    let ring = KeyRing::parse(ring).unwrap();
    let token = ring.seal(&sealed("alice", "admin", "GET", &site.path)).unwrap();
    let mut cases = vec![with_token(site, &SEALED, "as it is", &token)];
    for issuer in [ALGORITHMS[0].issuer, ALGORITHMS[9].issuer, "edge:test"] {
        let sealed = Sealed { iss: issuer.into(), aud: AUDIENCE.into(), ..sealed("alice", "admin", "GET", &site.path) };
        cases.push(with_token(site, &SEALED, format!("says it is of {issuer}"), ring.seal(&sealed).unwrap()));
    }
    let bob = mint.token(&ALGORITHMS[0], |_, claims| drop(claims.insert("sub".to_owned(), json!("bob"))));
    if let Some(alice) = &site.token {
        for (name, request) in [
            ("two users, two headers", get(site).bearer(Some(alice)).bearer(Some(&bob))),
            ("two users, header and cookie", get(site).bearer(Some(alice)).header("cookie", format!("cosygate={bob}"))),
            ("two users, two cookies", get(site).header("cookie", format!("cosygate={alice}; cosygate={bob}"))),
            ("two users, one header", get(site).header("authorization", format!("Bearer {alice}, Bearer {bob}"))),
        ] {
            cases.push(arrive(&TWO, name, &request.close()));
        }
    }
    cases
}

fn two(site: &Site) -> Vec<Case> {
    let Some(token) = &site.token else { return Vec::new() };
    let bearer = format!("Bearer {token}");
    let start = || get(site).header("authorization", &bearer);
    let again = |name: &str, value: &str| start().header(name, value);
    let mut cases: Vec<Case> = [
        ("the same header twice", again("authorization", &bearer)),
        ("in another case", again("AUTHORIZATION", &bearer)),
        ("a bad one after it", again("authorization", "Bearer x.y.z")),
        ("a bad one before it", get(site).header("authorization", "Bearer x.y.z").header("authorization", &bearer)),
        ("Basic after it", again("authorization", "Basic YWRtaW46YWRtaW4=")),
        (
            "Basic before it",
            get(site).header("authorization", "Basic YWRtaW46YWRtaW4=").header("authorization", &bearer),
        ),
        ("a cookie, too", again("cookie", &format!("cosygate={token}"))),
        ("a bad cookie, too", again("cookie", "cosygate=x")),
        ("an empty cookie, too", again("cookie", "cosygate=")),
        ("two in one header", get(site).header("authorization", format!("{bearer}, {bearer}"))),
        ("two in one header, no scheme", get(site).header("authorization", format!("{bearer},{token}"))),
        ("two cookies", get(site).header("cookie", format!("cosygate={token}; cosygate={token}"))),
        ("two cookie headers", get(site).header("cookie", format!("cosygate={token}")).header("cookie", "cosygate=x")),
    ]
    .into_iter()
    .map(|(name, request)| arrive(&TWO, name, &request.close()))
    .collect();
    let stream = Stream::new("GET", &site.path, &site.host).bearer(Some(token)).bearer(Some(token));
    cases.push(Case { shot: Shot::Http2(stream), ..arrive(&TWO, "over HTTP/2", &get(site)) });
    cases
}

fn places(site: &Site) -> Vec<Case> {
    let Some(token) = &site.token else { return Vec::new() };
    let query = |name: &str| wire::request("GET", format!("{}?{name}={token}", site.path), &site.host);
    let header = |name: &str, value: String| get(site).header(name, value);
    let mut cases = vec![
        ("?access_token", query("access_token")),
        ("?token", query("token")),
        ("?jwt", query("jwt")),
        ("?authorization", query("authorization")),
        ("Proxy-Authorization", header("proxy-authorization", format!("Bearer {token}"))),
        ("X-Authorization", header("x-authorization", format!("Bearer {token}"))),
        ("X-Forwarded-Authorization", header("x-forwarded-authorization", format!("Bearer {token}"))),
        ("X-Access-Token", header("x-access-token", token.clone())),
        ("X-Api-Key", header("x-api-key", token.clone())),
        ("Sec-WebSocket-Protocol", header("sec-websocket-protocol", format!("bearer, {token}"))),
        ("Authentication", header("authentication", format!("Bearer {token}"))),
        ("no scheme", header("authorization", token.clone())),
        ("Basic, as a password", header("authorization", format!("Basic {token}"))),
        ("JWT", header("authorization", format!("JWT {token}"))),
        ("Token", header("authorization", format!("Token {token}"))),
        ("DPoP", header("authorization", format!("DPoP {token}"))),
        ("as a parameter", header("authorization", format!("Bearer token=\"{token}\""))),
        ("with a parameter", header("authorization", format!("Bearer {token}, realm=\"x\""))),
        ("no space", header("authorization", format!("Bearer{token}"))),
        ("a tab", header("authorization", format!("Bearer\t{token}"))),
        ("a colon", header("authorization", format!("Bearer: {token}"))),
        ("another cookie", header("cookie", format!("token={token}; jwt={token}; access_token={token}"))),
        ("a cookie in capitals", header("cookie", format!("COSYGATE={token}"))),
        ("a cookie with a space", header("cookie", format!("cosygate ={token}"))),
        ("a cookie in quotes", header("cookie", format!("cosygate=\"{token}\""))),
    ];
    cases.push((
        "the body",
        get(site)
            .header("content-type", "application/x-www-form-urlencoded")
            .close()
            .body(format!("access_token={token}")),
    ));
    cases.into_iter().map(|(name, request)| arrive(&PLACES, name, &request.line("connection: close"))).collect()
}

fn methods(site: &Site) -> Vec<Case> {
    let methods = [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "TRACK", "DEBUG", "PROPFIND", "MKCOL",
        "COPY", "MOVE", "LOCK", "SEARCH", "QUERY", "PURGE", "LINK", "REPORT", "BREW", "get", "Get", "GET\t", "GETT",
        "G", "PRI",
    ];
    let mut cases = Vec::new();
    for method in methods {
        let request = wire::request(method, &site.path, &site.host);
        cases.push(arrive(&METHODS, method, &request.clone().close()));
        cases.push(arrive(&METHODS, format!("{method} with a body"), &request.close().body("x=1")));
        let stream = Stream::new(method, &site.path, &site.host);
        cases.push(Case { shot: Shot::Http2(stream), ..arrive(&METHODS, format!("{method} over HTTP/2"), &get(site)) });
    }
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let request = wire::request("OPTIONS", &site.path, &site.host).header(name, "GET").close();
        cases.push(arrive(&METHODS, name, &request));
    }
    let preflight = wire::request("OPTIONS", &site.path, &site.host)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
        .close();
    cases.push(arrive(&METHODS, "a CORS preflight", &preflight));
    cases
}

fn hosts(site: &Site) -> Vec<Case> {
    let path = &site.path;
    let mut cases = Vec::new();
    for host in [
        "",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "origin",
        "origin:8080",
        "edge.",
        "EDGE",
        "a@b",
        "evil.example",
        "x y",
        "x,y",
        "x\ty",
        "-",
        "*",
        "%00",
        "x:99999",
        "x:-1",
        "x:",
        "[",
        "ä",
    ] {
        cases.push(arrive(&HOSTS, format!("host {host:?}"), &wire::request("GET", path, host).close()));
    }
    let line = |line: String| {
        format!("{line}\r\n{}: {}\r\nconnection: close\r\n", super::MARK_HEADER, super::MARK).into_bytes()
    };
    let host = &site.host;
    for (name, head) in [
        ("no host", line(format!("GET {path} HTTP/1.1"))),
        ("HTTP/1.0", line(format!("GET {path} HTTP/1.0"))),
        ("HTTP/1.0 with a host", line(format!("GET {path} HTTP/1.0\r\nhost: {host}"))),
        ("HTTP/0.9", line(format!("GET {path}"))),
        ("HTTP/2.0 in words", line(format!("GET {path} HTTP/2.0\r\nhost: {host}"))),
        ("HTTP/9.9", line(format!("GET {path} HTTP/9.9\r\nhost: {host}"))),
        ("two hosts", line(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nhost: evil.example"))),
        ("a host that is folded", line(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n evil.example"))),
        ("a space before the colon", line(format!("GET {path} HTTP/1.1\r\nhost : {host}"))),
        ("absolute form", line(format!("GET http://{host}{path} HTTP/1.1\r\nhost: {host}"))),
        ("absolute form, other host", line(format!("GET http://evil.example{path} HTTP/1.1\r\nhost: {host}"))),
        ("absolute form, https", line(format!("GET https://{host}{path} HTTP/1.1\r\nhost: {host}"))),
        ("absolute form, user", line(format!("GET http://a:b@{host}{path} HTTP/1.1\r\nhost: {host}"))),
        ("two spaces", line(format!("GET  {path} HTTP/1.1\r\nhost: {host}"))),
        ("tabs", line(format!("GET\t{path}\tHTTP/1.1\r\nhost: {host}"))),
        ("line feeds only", line(format!("GET {path} HTTP/1.1\nhost: {host}"))),
        ("an empty line first", line(format!("\r\nGET {path} HTTP/1.1\r\nhost: {host}"))),
    ] {
        let bytes = [&head[..], b"\r\n"].concat();
        cases.push(Case { shot: Shot::Raw(bytes), ..arrive(&HOSTS, name, &get(site)) });
    }
    cases
}

fn upgrades(site: &Site) -> Vec<Case> {
    let hidden = format!("GET {}?{SMUGGLED}={} HTTP/1.1\r\nhost: {}\r\n\r\n", site.path, super::MARK, site.host);
    let upgrade = |to: &str| get(site).header("connection", "upgrade").header("upgrade", to);
    let socket = upgrade("websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let clear = get(site)
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__");
    let connect = |target: &str| wire::request("CONNECT", target, &site.host);
    let mut cases: Vec<Case> = [
        ("websocket", socket.clone()),
        ("websocket, data at once", socket.clone().follow(&hidden)),
        ("websocket, wrong version", socket.line("sec-websocket-version: 0").follow(&hidden)),
        ("h2c", clear.clone()),
        ("h2c, data at once", clear.follow(&hidden)),
        (
            "h2c, not hop by hop",
            get(site).header("upgrade", "h2c").header("http2-settings", "AAMAAABkAAQAAP__").close(),
        ),
        ("an unknown protocol", upgrade("x").follow(&hidden)),
        ("TLS", upgrade("TLS/1.2").follow(&hidden)),
        ("CONNECT to the origin", connect("127.0.0.1:8080").follow(&hidden)),
        ("CONNECT to a path", connect(&site.path).follow(&hidden)),
        ("CONNECT to itself", connect(&site.host).follow(&hidden)),
    ]
    .into_iter()
    .map(|(name, request)| arrive(&UPGRADES, name, &request))
    .collect();
    let stream = Stream::new("CONNECT", &site.path, &site.host);
    for (name, stream) in [
        ("CONNECT over HTTP/2", stream.clone()),
        (
            "CONNECT over HTTP/2, no path",
            Stream {
                fields: stream.fields.iter().filter(|(name, _)| name != b":path").cloned().collect(),
                ..stream.clone()
            },
        ),
        ("extended CONNECT", stream.clone().field(":protocol", "websocket")),
        ("extended CONNECT, data at once", stream.field(":protocol", "connect-udp").body(&hidden)),
    ] {
        cases.push(Case { shot: Shot::Http2(stream), ..arrive(&UPGRADES, name, &get(site)) });
    }
    cases
}

fn bytes(site: &Site) -> Vec<Case> {
    let values: [&[u8]; 10] = [
        b"\xff\xfe",
        b"\x80",
        b"\xc3\x28",
        "ä".as_bytes(),
        b"\xf0\x9f\x98\x80",
        b"\x7f",
        b"\0",
        b"\x01",
        b"Bearer \xff.\xff.\xff",
        b"cosygate=\xff",
    ];
    let names = [
        "x-anything",
        "cookie",
        "authorization",
        "x-request-id",
        "sec-fetch-site",
        "origin",
        "content-type",
        "user-agent",
        "x-user-id",
    ];
    let mut cases = Vec::new();
    for name in names {
        for value in values {
            let text = format!("{name}: {:?}", String::from_utf8_lossy(value));
            cases.push(arrive(&BYTES, text.clone(), &get(site).header(name, value).close()));
            let stream = Stream::new("GET", &site.path, &site.host).field(name, value);
            cases.push(Case { shot: Shot::Http2(stream), ..arrive(&BYTES, format!("{text}, HTTP/2"), &get(site)) });
        }
    }
    for (name, line) in [
        ("no colon", &b"nonsense"[..]),
        ("no name", b": x"),
        ("a name of bytes", b"\xff\xfe: x"),
        ("a name with a space", b"a b: x"),
    ] {
        cases.push(arrive(&BYTES, name, &get(site).line(line).close()));
    }
    let many = (0..200).fold(get(site), |request, number| request.header(format!("x-many-{number}"), "x"));
    cases.push(arrive(&BYTES, "two hundred headers", &many.close()));
    cases.push(arrive(&BYTES, "a header of 40 kB", &get(site).header("x-long", "x".repeat(40 * 1024)).close()));
    cases.push(arrive(&BYTES, "a cookie of 30 kB", &get(site).header("cookie", "a=b; ".repeat(6 * 1024)).close()));
    cases
}

fn proxy(site: &Site) -> Vec<Case> {
    let names = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-client-cert",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-original-uri",
        "x-original-method",
        "x-original-host",
        "x-rewrite-url",
        "x-envoy-original-path",
        "x-envoy-original-dst-host",
        "x-envoy-internal",
        "x-envoy-external-address",
        "x-envoy-force-trace",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-retry-on",
        "x-envoy-max-retries",
        "x-envoy-decorator-operation",
        "x-envoy-peer-metadata",
        "x-envoy-upstream-alt-stat-name",
        "x-request-id",
    ];
    let mut cases = Vec::new();
    let mut targets = vec![("no token", site.path.as_str(), None)];
    if site.open.is_some() {
        targets.push(("public", "/", None));
    }
    if let Some(token) = &site.token {
        targets.push(("with a token", site.path.as_str(), Some(token.as_str())));
    }
    for name in names {
        for (place, target, token) in &targets {
            let value = if name.ends_with("url") || name.ends_with("path") {
                format!("/api/admin/{CANARY}")
            } else {
                CANARY.to_owned()
            };
            let request = wire::request("GET", target, &site.host).bearer(*token).close();
            for (case, name) in
                [("", name.to_owned()), (" in capitals", name.to_uppercase()), (" with _", name.replace('-', "_"))]
            {
                let shot = Shot::Raw(request.clone().header(&name, &value).bytes());
                let goal = Goal::Claim { user: token.and(site.user.clone()) };
                cases.push(Case { family: &PROXY, name: format!("{name}{case}, {place}"), shot, goal, code: None });
            }
            let stream = Stream::new("GET", target, &site.host).bearer(*token).field(name, &value);
            let goal = Goal::Claim { user: token.and(site.user.clone()) };
            cases.push(Case {
                family: &PROXY,
                name: format!("{name}, {place}, HTTP/2"),
                shot: Shot::Http2(stream),
                goal,
                code: None,
            });
        }
    }
    cases
}

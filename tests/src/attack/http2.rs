//! A client that writes HTTP/2 frames (RFC 9113) as it likes.
//!
//! Libraries refuse to send most of what is sent here: names in capitals, line breaks in values,
//! headers that HTTP/2 does not have. Fields go out as literals that nobody indexes (RFC 7541,
//! section 6.2.2), so no table has to be kept.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{Answer, numbered};
use super::{MARK, MARK_HEADER};

const SILENCE: Duration = Duration::from_secs(5);
const MAX_FRAME_BYTES: usize = 16 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Names and values, pseudo-headers too, in order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, if any.
    pub body: Vec<u8>,
    /// What follows the body, if anything.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Stream {
    /// A request as everybody sends it.
    pub fn new(method: &str, path: &str, authority: &str) -> Self {
        let none = Self::default();
        none.field(":method", method)
            .field(":scheme", "http")
            .field(":path", path)
            .field(":authority", authority)
            .field(MARK_HEADER, MARK)
    }

    /// Adds a header.
    pub fn field(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Replaces a header that is there.
    pub fn replace(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for (known, old) in &mut self.fields {
            if known == name.as_bytes() {
                *old = value.as_ref().to_vec();
            }
        }
        self
    }

    /// Adds the token, if there is one.
    pub fn bearer(self, token: Option<&str>) -> Self {
        match token {
            Some(token) => self.field("authorization", format!("Bearer {token}")),
            None => self,
        }
    }

    /// Sets the body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    fn frames(&self) -> Vec<u8> {
        let (body, trailers) = (!self.body.is_empty(), !self.trailers.is_empty());
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No table, no pushes, and a window that holds every answer.
        let settings = [[0, 1, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [0, 4, 0, 0x40, 0, 0]].concat();
        sent.extend(frame(SETTINGS, 0, 0, &settings));
        sent.extend(block(&self.fields, !body && !trailers));
        for (index, part) in self.body.chunks(MAX_FRAME_BYTES).enumerate() {
            let last = (index + 1) * MAX_FRAME_BYTES >= self.body.len() && !trailers;
            sent.extend(frame(DATA, if last { END_STREAM } else { 0 }, 1, part));
        }
        if trailers {
            sent.extend(block(&self.trailers, true));
        }
        sent
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block as HEADERS and as many CONTINUATION frames as it takes.
fn block(fields: &[(Vec<u8>, Vec<u8>)], end_stream: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in fields {
        text.push(0);
        for part in [name, value] {
            integer(&mut text, part.len());
            text.extend(part);
        }
    }
    let parts: Vec<&[u8]> = text.chunks(MAX_FRAME_BYTES).collect();
    let mut frames = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let end = if index + 1 == parts.len() { END_HEADERS } else { 0 };
        frames.extend(frame(kind, end | if index == 0 && end_stream { END_STREAM } else { 0 }, 1, part));
    }
    frames
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(into: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        into.push(value as u8);
        return;
    }
    into.push(127);
    value -= 127;
    while value >= 128 {
        into.push((value % 128) as u8 | 128);
        value /= 128;
    }
    into.push(value as u8);
}

/// Sends one request on a connection of its own. A stream that is reset, and a connection that
/// ends, are answers without a status.
pub async fn send(address: SocketAddr, stream: &Stream, number: usize) -> Answer {
    timeout(SILENCE, exchange(address, &numbered(&stream.frames(), number)))
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default()
}

async fn exchange(address: SocketAddr, sent: &[u8]) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    // Settings may come before everything is written, and the end, too.
    let _ = connection.write_all(sent).await;
    let mut answer = Answer::default();
    loop {
        let mut head = [0; 9];
        if connection.read_exact(&mut head).await.is_err() {
            return Ok(answer);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags, stream) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        let mut payload = vec![0; length as usize];
        if connection.read_exact(&mut payload).await.is_err() {
            return Ok(answer);
        }
        match kind {
            SETTINGS if flags & ACK == 0 => connection.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            HEADERS if stream == 1 && answer.status == 0 => answer.status = status(&payload).unwrap_or_default(),
            DATA if stream == 1 => answer.body.extend(&payload),
            RST_STREAM if stream == 1 => return Ok(answer),
            GOAWAY => return Ok(answer),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && stream == 1 && flags & END_STREAM != 0 {
            return Ok(answer);
        }
    }
}

/// The status at the start of a field block: from the static table, or as a literal with the
/// name of the static table.
fn status(block: &[u8]) -> Option<u16> {
    // The size of the table may be confirmed first.
    let block = if block.first()? & 0xe0 == 0x20 { &block[1..] } else { block };
    let first = *block.first()?;
    if first & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500].get(usize::from(first & 0x7f).checked_sub(8)?).copied();
    }
    // Names 8 to 14 of the static table are `:status`.
    let name = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
    if !(8..=14).contains(&name) {
        return None;
    }
    let length = *block.get(1)?;
    let text = block.get(2..2 + usize::from(length & 0x7f))?;
    let digits = if length & 0x80 == 0 { String::from_utf8(text.to_vec()).ok()? } else { decoded(text) };
    digits.parse().ok()
}

/// Digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, 3 to 9 six.
fn decoded(text: &[u8]) -> String {
    let bits: Vec<u32> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1))).collect();
    let value =
        |from: usize, size: usize| bits.get(from..from + size)?.iter().copied().reduce(|all, bit| all * 2 + bit);
    let (mut digits, mut place) = (String::new(), 0);
    while digits.len() < 3 {
        let (digit, size) = match (value(place, 5), value(place, 6)) {
            (Some(digit @ 0..=2), _) => (digit, 5),
            (_, Some(six @ 0x19..=0x1f)) => (six - 0x16, 6),
            _ => break,
        };
        digits += &digit.to_string();
        place += size;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_in_all_its_forms() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x48, 3, b'4', b'0', b'1']), Some(401));
        // RFC 7541, appendix C.4.1, C.6.1: 302 and 307.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
        assert_eq!(status(&[0x40, 1, b'x', 1, b'y']), None);
    }

    #[test]
    fn lengths_are_written_as_the_standard_does() {
        let written = |value| {
            let mut bytes = Vec::new();
            integer(&mut bytes, value);
            bytes
        };
        assert_eq!(written(10), [10]);
        assert_eq!(written(127), [127, 0]);
        assert_eq!(written(1337), [127, 0xba, 0x09]);
    }
}

//! A client that writes HTTP/1.1 as it likes, and reads it as it must.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{MARK, MARK_HEADER};

/// How long nothing may come before nothing is expected any more.
const SILENCE: Duration = Duration::from_secs(5);
/// The same when an answer was there already.
const SILENCE_AFTER_ANSWER: Duration = Duration::from_secs(1);

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// Starts a request with its host and its mark.
pub fn request(method: &str, target: impl AsRef<[u8]>, host: &str) -> Request {
    let line = [method.as_bytes(), b" ", target.as_ref(), b" HTTP/1.1\r\n"].concat();
    Request { head: line, body: Vec::new() }.header("host", host).header(MARK_HEADER, MARK)
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.head.extend([name.as_ref(), b": ", value.as_ref(), b"\r\n"].concat());
        self
    }

    /// Adds the token, if there is one.
    pub fn bearer(self, token: Option<&str>) -> Self {
        match token {
            Some(token) => self.header("authorization", format!("Bearer {token}")),
            None => self,
        }
    }

    /// Adds a line as it is.
    pub fn line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.head.extend([line.as_ref(), b"\r\n"].concat());
        self
    }

    /// Sets what follows the head, as it is.
    pub fn follow(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Sets a body with its length.
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.header("content-length", length).follow(body)
    }

    /// Asks for the connection to be closed after the answer.
    pub fn close(self) -> Self {
        self.header("connection", "close")
    }

    /// The whole.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.head[..], b"\r\n", &self.body].concat()
    }
}

/// Puts a case's number in place of its mark.
pub fn numbered(bytes: &[u8], number: usize) -> Vec<u8> {
    let digits = format!("{number:0width$}", width = MARK.len());
    let mut numbered = bytes.to_vec();
    let mut from = 0;
    while let Some(found) = find(&numbered[from..], MARK.as_bytes()) {
        numbered[from + found..from + found + MARK.len()].copy_from_slice(digits.as_bytes());
        from += found + MARK.len();
    }
    numbered
}

/// Where some bytes begin. Only where the first one stands the others are compared, because all of
/// this runs ten thousand times, and unoptimised.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(next) = bytes[from..].iter().position(|byte| *byte == what[0]) {
        from += next;
        if bytes[from..].starts_with(what) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 0 if the connection ended without one.
    pub status: u16,
    /// Names, lower-case, with values.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code of a problem.
    pub fn code(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    }

    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    closed: bool,
    silence: Duration,
}

impl Wire {
    /// # Errors
    /// The network's.
    pub async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new(), closed: false, silence: SILENCE })
    }

    /// Whether another request may be sent.
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    /// Sends bytes as they are. That the other side is gone shows when its answer is read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(SILENCE, self.stream.write_all(bytes)).await;
    }

    /// Reads one answer; `None` when the connection ends or falls silent.
    pub async fn answer(&mut self, to_head: bool) -> Option<Answer> {
        if self.closed {
            return None;
        }
        loop {
            let answer = self.next(to_head).await;
            match &answer {
                // 1xx only announces another one.
                Some(answer) if (100..200).contains(&answer.status) && answer.status != 101 => continue,
                Some(answer) => self.closed = answer.closes() || answer.status == 101,
                None => self.closed = true,
            }
            return answer;
        }
    }

    /// Reads answers until the connection ends, closes or falls silent.
    pub async fn answers(&mut self, to_head: bool) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer(to_head).await {
            answers.push(answer);
            self.silence = SILENCE_AFTER_ANSWER;
        }
        answers
    }

    async fn next(&mut self, to_head: bool) -> Option<Answer> {
        let end = self.find(b"\r\n\r\n").await?;
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let field =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut answer = Answer { status, headers: lines.filter_map(field).collect(), body: Vec::new() };
        let bodiless = to_head || status < 200 || matches!(status, 204 | 304);
        let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
        answer.body = match length {
            _ if bodiless => Vec::new(),
            Some(length) => self.take(length).await?,
            None if answer.header("transfer-encoding").is_some() => self.chunks().await?,
            None => self.rest().await,
        };
        Some(answer)
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.find(b"\r\n").await?;
            let line: Vec<u8> = self.unread.drain(..end + 2).collect();
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            let mut chunk = self.take(size + 2).await?;
            if size == 0 {
                return Some(body);
            }
            chunk.truncate(size);
            body.extend(chunk);
        }
    }

    async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    async fn find(&mut self, what: &[u8]) -> Option<usize> {
        loop {
            if let Some(found) = find(&self.unread, what) {
                return Some(found);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        while self.unread.len() < size {
            if !self.more().await {
                return None;
            }
        }
        Some(self.unread.drain(..size).collect())
    }

    async fn more(&mut self) -> bool {
        let read = timeout(self.silence, self.stream.read_buf(&mut self.unread)).await;
        matches!(read, Ok(Ok(1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_becomes_a_number_of_the_same_length() {
        let sent = request("GET", "/x", "h").body(format!("GET /{MARK}")).bytes();
        let numbered = numbered(&sent, 42);
        assert_eq!(numbered.len(), sent.len());
        let text = String::from_utf8(numbered).unwrap();
        assert!(text.contains("x-attack: 00000042\r\n") && text.ends_with("GET /00000042"), "{text}");
    }
}

//! An origin that answers with what it received.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// The longest body that is read to its end.
const MAX_BODY_BYTES: usize = 1 << 20;

/// An echo that remembers what it received.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    received: Memory,
}

/// Every request from the moment its head arrives; its body may never end.
type Memory = Arc<Mutex<Vec<Arc<Mutex<Received>>>>>;

/// One request as it arrived; as JSON, the echo's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query, or whatever stood in their place.
    pub target: String,
    /// Names, lower-case, with values, in order.
    pub headers: Vec<(String, String)>,
    /// What followed the body.
    pub trailers: Vec<(String, String)>,
    /// The length of the body.
    pub body_bytes: usize,
}

impl Echo {
    /// Serves on a free loopback port until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Memory::default();
        let app = Router::new().fallback(remember).with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, received }
    }

    /// How many requests arrived since the last [`Echo::take`].
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Everything that arrived, in order; it is forgotten here.
    pub fn take(&self) -> Vec<Received> {
        let all = std::mem::take(&mut *self.received.lock().unwrap());
        all.iter().map(|received| received.lock().unwrap().clone()).collect()
    }
}

impl Received {
    /// Every value of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Serves on a free loopback port until the test's runtime ends, and remembers nothing.
pub async fn start() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(echo);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

pub(crate) async fn echo(request: Request) -> Json<Received> {
    remember(State(Memory::default()), request).await
}

async fn remember(State(memory): State<Memory>, request: Request) -> Json<Received> {
    let (head, body) = request.into_parts();
    let received = Arc::new(Mutex::new(Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: pairs(&head.headers),
        trailers: Vec::new(),
        body_bytes: 0,
    }));
    memory.lock().unwrap().push(Arc::clone(&received));
    let (body_bytes, trailers) = read(body).await;
    let mut received = received.lock().unwrap();
    received.body_bytes = body_bytes;
    received.trailers = trailers;
    Json(received.clone())
}

async fn read(mut body: Body) -> (usize, Vec<(String, String)>) {
    let (mut size, mut trailers) = (0, Vec::new());
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        size += frame.data_ref().map_or(0, |data| data.len());
        if let Some(fields) = frame.trailers_ref() {
            trailers.extend(pairs(fields));
        }
        if size > MAX_BODY_BYTES {
            break;
        }
    }
    (size, trailers)
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

//! A listener that nobody should ever visit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the connections it gets.
pub struct Lure {
    /// Where tokens point to.
    pub address: SocketAddr,
    visits: Arc<AtomicUsize>,
}

impl Lure {
    /// Listens on a free loopback port until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visits);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, visits }
    }

    /// How many came since the last question.
    pub fn visits(&self) -> usize {
        self.visits.swap(0, Ordering::SeqCst)
    }
}

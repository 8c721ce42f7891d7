//! What several ask for at the same time, written in one transaction.
//!
//! SQLite writes every page that a transaction touches, and a hundred generations touch the same
//! few; Postgres has one lock on the queue and one on the head of the audit. Whoever comes while one
//! transaction runs is in the next one, together with all others who came meanwhile.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Store, StoreError};

/// How many are in a transaction at most.
const MOST: usize = 64;

/// How to write some; the results are in the same order. All of them or, with an error, none.
type Write<T, R> = fn(Store, Arc<[T]>) -> BoxFuture<'static, Result<Vec<R>, StoreError>>;

/// Writes of one kind.
#[derive(Debug)]
pub(super) struct Together<T, R> {
    write: Write<T, R>,
    waiting: Mutex<Vec<Asked<T, R>>>,
    /// Whoever has it writes for all.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Asked<T, R> {
    what: T,
    answer: oneshot::Sender<Result<R, StoreError>>,
}

impl<T: Clone + Send + Sync + 'static, R: Send + 'static> Together<T, R> {
    pub(super) fn new(write: Write<T, R>) -> Self {
        Self { write, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Writes this, and whatever else is asked for by now. It is written even if nobody waits for
    /// the answer any more.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub(super) async fn ask(&self, store: &Store, what: T) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { what, answer });
        let turn = self.turn.lock().await;
        while answered.is_empty() && !answered.is_terminated() {
            let asked = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let most = waiting.len().min(MOST);
                waiting.drain(..most).collect::<Vec<_>>()
            };
            if asked.is_empty() {
                // Somebody who has left meanwhile began to write it.
                break;
            }
            tokio::spawn(write(self.write, store.clone(), asked)).await.map_err(io::Error::other)?;
        }
        drop(turn);
        answered.await.map_err(io::Error::other)?
    }
}

async fn write<T: Clone + Send + Sync, R: Send>(write: Write<T, R>, store: Store, asked: Vec<Asked<T, R>>) {
    let (whats, answers): (Vec<T>, Vec<_>) = asked.into_iter().map(|asked| (asked.what, asked.answer)).unzip();
    let whats: Arc<[T]> = whats.into();
    let written = write(store.clone(), Arc::clone(&whats)).await;
    if written.is_ok() || answers.len() == 1 {
        let results = match written {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        for (answer, result) in answers.into_iter().zip(results) {
            let _ = answer.send(result);
        }
        return;
    }
    // One may have spoilt it for the others.
    for (answer, what) in answers.into_iter().zip(whats.iter()) {
        let result = write(store.clone(), Arc::from([what.clone()])).await;
        let result = result.and_then(|results| results.into_iter().next().ok_or(StoreError::Busy));
        let _ = answer.send(result);
    }
}

//! How much an engine does at once. The engines behind us have no limit of their own: without
//! this one, every request would slow down all others until none finishes in time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EngineError;

/// A fixed number of places to work, each bound to one address of the engine.
pub(super) struct Slots {
    /// Addresses (as indexes) of the slots that nobody works in.
    free: Mutex<VecDeque<usize>>,
    working: Arc<Semaphore>,
    /// Those who work and those who wait; bounds the waiting.
    present: Arc<Semaphore>,
    patience: Duration,
}

impl Slots {
    /// `per_address` slots for each of `addresses` addresses. At most `queue_length` callers wait,
    /// each for at most `patience`.
    pub(super) fn new(addresses: usize, per_address: usize, queue_length: usize, patience: Duration) -> Arc<Self> {
        let count = addresses * per_address;
        // Neighbouring slots belong to different addresses, so work spreads over all of them.
        let free = (0..per_address).flat_map(|_| 0..addresses).collect();
        Arc::new(Self {
            free: Mutex::new(free),
            working: Arc::new(Semaphore::new(count)),
            present: Arc::new(Semaphore::new(count + queue_length)),
            patience,
        })
    }

    /// Waits for a slot.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Slot, EngineError> {
        let presence =
            Arc::clone(&self.present).try_acquire_owned().map_err(|_| EngineError::unavailable("its queue is full"))?;
        let permit = tokio::time::timeout(self.patience, Arc::clone(&self.working).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(EngineError::unavailable("every slot stayed busy"));
        };
        let address = self.with_free(VecDeque::pop_front).unwrap_or_default();
        Ok(Slot { address, slots: Arc::clone(self), _permit: permit, _presence: presence })
    }

    fn with_free<T>(&self, change: impl FnOnce(&mut VecDeque<usize>) -> T) -> T {
        change(&mut self.free.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to work on one utterance at one address; given back on drop.
pub(super) struct Slot {
    address: usize,
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
    _presence: OwnedSemaphorePermit,
}

impl Slot {
    /// Index of the address to work at.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Changes to a free slot at another address. False, and no change, if there is none.
    pub(super) fn change_address(&mut self) -> bool {
        let current = self.address;
        let other = self.slots.with_free(|free| {
            let position = free.iter().position(|address| *address != current)?;
            free.push_back(current);
            free.remove(position)
        });
        self.address = other.unwrap_or(current);
        other.is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.with_free(|free| free.push_back(self.address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_is_bounded_in_number_and_in_time() {
        let slots = Slots::new(1, 1, 1, Duration::from_millis(50));
        let working = slots.take().await.unwrap();
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take().await.err() }
        });
        tokio::task::yield_now().await;

        assert_eq!(slots.take().await.err(), Some(EngineError::unavailable("its queue is full")));
        let waited = waiting.await.unwrap();
        assert_eq!(waited, Some(EngineError::unavailable("every slot stayed busy")));
        drop(working);
        assert!(slots.take().await.is_ok());
    }

    #[tokio::test]
    async fn no_address_gets_more_than_its_share() {
        let slots = Slots::new(2, 1, 0, Duration::ZERO);
        let mut first = slots.take().await.unwrap();
        assert_eq!(first.address(), 0);
        assert!(first.change_address());
        assert_eq!(first.address(), 1);

        let second = slots.take().await.unwrap();
        assert_eq!(second.address(), 0);
        assert!(!first.change_address());
        assert_eq!(first.address(), 1);
    }
}

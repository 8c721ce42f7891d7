//! How much an engine does at once, and at which address. The engines behind us have no limit of
//! their own: without this one, every request would slow down all others until none finishes in
//! time.
//!
//! Work goes to the address that does least. One that fails several times in a row is left alone
//! for a while; then one utterance tries it. One where nobody answers when it is looked at is left
//! alone until somebody does. If all are left alone, all are tried.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::EngineError;

/// So many failures in a row, and an address is left alone.
const FAILURES: u32 = 3;
/// For how long.
const REST: Duration = Duration::from_secs(10);

/// A fixed number of places to work at each address of an engine.
pub(super) struct Slots {
    addresses: Mutex<Vec<Address>>,
    per_address: usize,
    freed: Notify,
    /// Those who work and those who wait; bounds the waiting.
    present: Arc<Semaphore>,
    patience: Duration,
}

#[derive(Clone, Default)]
struct Address {
    working: usize,
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
    /// Nobody was there when it was looked at last.
    is_away: bool,
    /// When it was chosen last, counted in choices.
    chosen: u64,
}

impl Address {
    fn rests(&self, now: Instant) -> bool {
        self.is_away || self.rests_until.is_some_and(|end| now < end)
    }

    /// Whether it has room. One that has rested is tried by one utterance first.
    fn has_room(&self, per_address: usize) -> bool {
        let most = if self.failures >= FAILURES { 1 } else { per_address };
        self.working < most
    }
}

impl Slots {
    /// `per_address` slots for each of `addresses` addresses. At most `queue_length` callers wait,
    /// each for at most `patience`.
    pub(super) fn new(addresses: usize, per_address: usize, queue_length: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            addresses: Mutex::new(vec![Address::default(); addresses]),
            per_address,
            freed: Notify::new(),
            present: Arc::new(Semaphore::new(addresses * per_address + queue_length)),
            patience,
        })
    }

    /// Waits for a slot.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Slot, EngineError> {
        let presence =
            Arc::clone(&self.present).try_acquire_owned().map_err(|_| EngineError::unavailable("its queue is full"))?;
        let end = Instant::now() + self.patience;
        let mut has_waited = false;
        loop {
            let freed = self.freed.notified();
            if let Some(address) = self.choose(None) {
                if has_waited {
                    // Several places that were freed at once may have woken only one.
                    self.freed.notify_one();
                }
                return Ok(Slot { address, slots: Arc::clone(self), _presence: presence });
            }
            has_waited = true;
            // A rest may end, too, while nothing is freed.
            let look_again = self.next_rest_end().map_or(end, |rested| rested.min(end));
            if timeout_at(look_again, freed).await.is_err() && Instant::now() >= end {
                return Err(EngineError::unavailable("every slot stayed busy"));
            }
        }
    }

    /// Takes a place at the address that does least; among equals, at the one that waited longest.
    fn choose(&self, except: Option<usize>) -> Option<usize> {
        let now = Instant::now();
        self.with(|addresses| {
            let all_rest = addresses.iter().all(|address| address.rests(now));
            let choices = addresses.iter().map(|address| address.chosen).max().unwrap_or_default();
            let fit = addresses.iter_mut().enumerate().filter(|(index, address)| {
                let is_awake = all_rest || !address.rests(now);
                Some(*index) != except && is_awake && address.has_room(self.per_address)
            });
            let (index, address) = fit.min_by_key(|(_, address)| (address.working, address.chosen))?;
            address.working += 1;
            address.chosen = choices + 1;
            Some(index)
        })
    }

    fn next_rest_end(&self) -> Option<Instant> {
        let now = Instant::now();
        self.with(|addresses| addresses.iter().filter_map(|address| address.rests_until).filter(|end| now < *end).min())
    }

    /// Whether nothing is done at an address.
    pub(super) fn is_idle(&self, address: usize) -> bool {
        self.with(|addresses| addresses.get(address).is_some_and(|address| address.working == 0))
    }

    #[cfg(test)]
    pub(super) fn is_away(&self, address: usize) -> bool {
        self.with(|addresses| addresses.get(address).is_some_and(|address| address.is_away))
    }

    /// Notes whether anybody was there when an address was looked at.
    pub(super) fn found(&self, address: usize, is_there: bool) {
        let changed = self.with(|addresses| {
            let address = addresses.get_mut(address)?;
            let was_away = std::mem::replace(&mut address.is_away, !is_there);
            (was_away == is_there).then_some(())
        });
        metrics::gauge!("cosygate_engine_address_up", "address" => address.to_string())
            .set(f64::from(u8::from(is_there)));
        match (changed, is_there) {
            (Some(()), true) => {
                tracing::info!(address, "an address of the engine is there again");
                self.freed.notify_one();
            }
            (Some(()), false) => tracing::warn!(address, "nobody answers at an address of the engine"),
            (None, _) => {}
        }
    }

    fn leave(&self, address: usize) {
        self.with(|addresses| {
            if let Some(address) = addresses.get_mut(address) {
                address.working = address.working.saturating_sub(1);
            }
        });
        self.freed.notify_one();
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<Address>) -> T) -> T {
        change(&mut self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to work on one utterance at one address; given back on drop.
pub(super) struct Slot {
    address: usize,
    slots: Arc<Slots>,
    _presence: OwnedSemaphorePermit,
}

impl Slot {
    /// Index of the address to work at.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Changes to another address that has room. False, and no change, if there is none.
    pub(super) fn change_address(&mut self) -> bool {
        let Some(other) = self.slots.choose(Some(self.address)) else { return false };
        self.slots.leave(self.address);
        self.address = other;
        true
    }

    /// Notes how the address did: well, or so that another one might have done better.
    pub(super) fn report(&self, is_well: bool) {
        let rested = self.slots.with(|addresses| {
            let address = addresses.get_mut(self.address)?;
            if is_well {
                (address.failures, address.rests_until, address.is_away) = (0, None, false);
                return None;
            }
            address.failures = address.failures.saturating_add(1);
            address.rests_until = (address.failures >= FAILURES).then(|| Instant::now() + REST);
            address.rests_until
        });
        if rested.is_some() {
            tracing::warn!(address = self.address, seconds = REST.as_secs(), "an address of the engine is left alone");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.leave(self.address);
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

    #[tokio::test]
    async fn whoever_waits_gets_what_is_given_back() {
        let slots = Slots::new(1, 2, 8, Duration::from_secs(60));
        let working = [slots.take().await.unwrap(), slots.take().await.unwrap()];
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move { drop(slots.take().await.unwrap()) })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(working);
        for waited in waiting {
            waited.await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_address_that_does_least_is_chosen() {
        let slots = Slots::new(3, 2, 0, Duration::ZERO);
        let mut working = Vec::new();
        for _ in 0..6 {
            working.push(slots.take().await.unwrap());
        }
        let addresses: Vec<usize> = working.iter().map(Slot::address).collect();
        assert_eq!(addresses, [0, 1, 2, 0, 1, 2]);
        working.retain(|slot| slot.address() != 1);
        assert_eq!(slots.take().await.unwrap().address(), 1);
    }

    #[tokio::test]
    async fn an_address_that_fails_is_left_alone_and_then_tried_by_one() {
        let slots = Slots::new(2, 2, 4, Duration::ZERO);
        let fail = async |times: usize| {
            for _ in 0..times {
                let mut slot = slots.take().await.unwrap();
                if slot.address() == 1 {
                    assert!(slot.change_address());
                }
                slot.report(false);
            }
        };
        fail(3).await;
        let working = [slots.take().await.unwrap(), slots.take().await.unwrap()];
        assert!(working.iter().all(|slot| slot.address() == 1));
        assert!(slots.take().await.is_err(), "the other address is not good for a try yet");
        slots.with(|addresses| addresses[0].rests_until = Some(Instant::now()));
        let probe = slots.take().await.unwrap();
        assert_eq!(probe.address(), 0);
        assert!(slots.take().await.is_err(), "one try at a time");
        probe.report(true);
        assert_eq!(slots.take().await.unwrap().address(), 0);
    }

    #[tokio::test]
    async fn an_address_where_nobody_is_gets_no_work() {
        let slots = Slots::new(2, 1, 0, Duration::ZERO);
        slots.found(0, false);
        let working = slots.take().await.unwrap();
        assert_eq!(working.address(), 1);
        assert!(slots.is_idle(0) && !slots.is_idle(1));
        assert!(slots.take().await.is_err());
        slots.found(0, true);
        assert_eq!(slots.take().await.unwrap().address(), 0);
        // With nobody anywhere, asking is all that is left.
        (0..2).for_each(|address| slots.found(address, false));
        assert_eq!(slots.take().await.unwrap().address(), 0);
    }

    #[tokio::test]
    async fn if_all_fail_all_are_tried() {
        let slots = Slots::new(1, 1, 0, Duration::ZERO);
        for _ in 0..10 {
            slots.take().await.unwrap().report(false);
        }
    }
}

//! Servers of one model: their addresses, how much each may do, and which of them are there.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::prompt::{PIECE_BUDGET, clean};
use super::session::{Wire, Work};
use super::slots::Slots;
use super::{CosyVoiceModel, EngineError, EngineSettings, Speech};
use super::{sentences, speech};

pub(super) struct Pool {
    pub(super) addresses: Arc<[String]>,
    pub(super) limits: Arc<Limits>,
    slots: Arc<Slots>,
    model: CosyVoiceModel,
}

/// How long to wait for what, and how much to take.
pub(super) struct Limits {
    /// For a whole utterance, however long.
    pub(super) deadline: Duration,
    pub(super) connect: Duration,
    /// For a piece of text, and so much more for each second of its audio.
    pub(super) first_byte: Duration,
    pub(super) audio_second: Duration,
    pub(super) idle: Duration,
    pub(super) sample_rate: u32,
    pub(super) max_bytes: usize,
    health: Duration,
}

/// How the server at an address is asked whether it is there.
pub(super) trait Probe: Send + Sync + 'static {
    fn probe(&self, address: usize) -> impl Future<Output = Result<(), String>> + Send;
}

impl Pool {
    /// Expects settings that are valid.
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let addresses: Arc<[String]> = settings.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let patience = Duration::from_secs(settings.queue_seconds);
        let limits = Limits {
            deadline: Duration::from_secs(settings.deadline_seconds),
            connect: Duration::from_secs(settings.connect_seconds),
            first_byte: Duration::from_secs(settings.first_byte_seconds),
            audio_second: Duration::from_secs_f64(settings.deadline_per_audio_second),
            idle: Duration::from_secs(settings.idle_seconds),
            sample_rate: settings.sample_rate_hz,
            max_bytes: settings.max_speech_bytes(),
            health: Duration::from_secs(settings.health_seconds),
        };
        Self {
            slots: Slots::new(addresses.len(), settings.concurrency(), settings.queue_length, patience),
            limits: Arc::new(limits),
            addresses,
            model: settings.model,
        }
    }

    /// Waits for a place at a server and speaks a text there, piece by piece.
    pub(super) async fn speak(&self, text: &str, speed: f32, wire: impl Wire) -> Result<Speech, EngineError> {
        let text = clean(text, self.model);
        let texts: VecDeque<String> = sentences::split(&text, PIECE_BUDGET).into_iter().map(str::to_owned).collect();
        if texts.is_empty() {
            return Err(EngineError::nothing_to_say());
        }
        let slot = self.slots.take().await?;
        let work = Work::new(wire, slot, Arc::clone(&self.limits), texts, speed);
        speech::start(self.limits.sample_rate, work).await
    }

    /// Whether any server is there.
    pub(super) async fn check(&self, probe: &impl Probe) -> Result<(), EngineError> {
        let mut last = String::new();
        for address in 0..self.addresses.len() {
            match probe.probe(address).await {
                Ok(()) => return Ok(()),
                Err(reason) => last = reason,
            }
        }
        Err(EngineError::unavailable(format!("no address of the engine answers: {last}")))
    }

    /// Looks after the servers from now on, for as long as the pool lives: one that is not there
    /// gets no work. Does nothing outside of a runtime.
    pub(super) fn watch(&self, probe: Arc<impl Probe>) {
        if self.limits.health.is_zero() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (slots, addresses) = (Arc::downgrade(&self.slots), self.addresses.len());
            runtime.spawn(look_after(slots, addresses, probe, self.limits.health));
        }
    }
}

async fn look_after(slots: Weak<Slots>, addresses: usize, probe: Arc<impl Probe>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        for address in 0..addresses {
            // One that works is not disturbed: how it does shows in its work.
            match slots.upgrade().map(|slots| slots.is_idle(address)) {
                Some(true) => {}
                Some(false) => continue,
                None => return,
            }
            let found = probe.probe(address).await;
            let Some(slots) = slots.upgrade() else { return };
            slots.found(address, found.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The second server is always there, the first one only when it is said so.
    struct Told(AtomicBool);

    impl Probe for Told {
        async fn probe(&self, address: usize) -> Result<(), String> {
            if address == 1 || self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("gone".to_owned()) }
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..500 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not come true");
    }

    #[tokio::test]
    async fn servers_are_looked_after_for_as_long_as_there_is_a_pool() {
        let urls = vec!["http://one".to_owned(), "http://two/".to_owned()];
        let pool = Pool::new(&EngineSettings { urls, health_seconds: 1, queue_seconds: 0, ..Default::default() });
        assert_eq!(pool.addresses.as_ref(), ["http://one", "http://two"]);
        let told = Arc::new(Told(AtomicBool::new(false)));
        pool.watch(Arc::clone(&told));
        until(|| pool.slots.is_away(0)).await;
        let working = pool.slots.take().await.unwrap();
        assert_eq!(working.address(), 1);
        assert!(!pool.slots.is_away(1));
        told.0.store(true, Ordering::SeqCst);
        until(|| !pool.slots.is_away(0)).await;
        drop((working, pool));
        until(|| Arc::strong_count(&told) == 1).await;
    }

    #[tokio::test]
    async fn any_server_that_is_there_will_do() {
        let urls = vec!["http://one".to_owned(), "http://two".to_owned()];
        let pool = Pool::new(&EngineSettings { urls, ..Default::default() });
        assert_eq!(pool.check(&Told(AtomicBool::new(false))).await, Ok(()));
        let one = Pool::new(&EngineSettings { urls: vec!["http://one".to_owned()], ..Default::default() });
        let error = one.check(&Told(AtomicBool::new(false))).await.unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
}

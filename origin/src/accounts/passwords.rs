//! How passwords are chosen (NIST SP 800-63B-4, section 3.1.1) and kept (RFC 9106, argon2id).

mod argon2id;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::{Score, zxcvbn};

use self::argon2id::Argon2id;
use crate::problem::Refusal;

const MAX_CHARACTERS: usize = 256;
/// How many hashes may wait for their turn.
const QUEUE: usize = 128;
const PATIENCE: Duration = Duration::from_secs(5);

/// The table `[passwords]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordSettings {
    /// Shortest new password, in characters. `COSYGATE_PASSWORD_LENGTH`, default 8; NIST SP
    /// 800-63B-4 asks for 15 where there is no second factor.
    pub length: usize,
    /// Memory of one argon2id hash, in KiB. `COSYGATE_PASSWORD_MEMORY_KIB`, default 19456.
    pub memory_kib: u32,
    /// How often argon2id passes over it. `COSYGATE_PASSWORD_PASSES`, default 2.
    pub passes: u32,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self { length: 8, memory_kib: 19 * 1024, passes: 2 }
    }
}

impl PasswordSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// A line that says which setting is wrong.
    pub fn validate(&self) -> Result<(), &'static str> {
        match () {
            () if !(8..=64).contains(&self.length) => Err("length must be 8 to 64"),
            () if !(8 * 1024..=1024 * 1024).contains(&self.memory_kib) => Err("memory_kib must be 8192 to 1048576"),
            () if !(1..=20).contains(&self.passes) => Err("passes must be 1 to 20"),
            () => Ok(()),
        }
    }
}

/// A password that may be set: long enough, and not easily guessed.
pub struct NewPassword(String);

/// Chooses and hashes passwords: few at once, because each takes a core and its memory.
pub struct Passwords {
    argon2id: Arc<Argon2id>,
    length: usize,
    working: Arc<Semaphore>,
    present: Arc<Semaphore>,
    /// Verified in place of a missing user's, so that the time does not tell that it is missing.
    nobodys: String,
}

impl Passwords {
    /// With these settings; the cost is not checked, so that tests can do with little.
    ///
    /// # Errors
    /// The cost is out of argon2's range, or the system gives no random bytes.
    pub fn new(settings: &PasswordSettings) -> Result<Self, String> {
        let argon2id = Arc::new(Argon2id::new(settings.memory_kib, settings.passes)?);
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let nobodys = argon2id.hash("nobody has this password")?;
        Ok(Self {
            argon2id,
            length: settings.length,
            working: Arc::new(Semaphore::new(at_once)),
            present: Arc::new(Semaphore::new(at_once + QUEUE)),
            nobodys,
        })
    }

    /// Whether somebody of this name may have this password from now on.
    ///
    /// # Errors
    /// A sentence for the client.
    pub fn accept(&self, password: &str, username: &str) -> Result<NewPassword, String> {
        accept(password, username, self.length)
    }

    /// The PHC string of a password under a fresh salt.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn hash(&self, password: NewPassword) -> Result<String, Refusal> {
        let argon2id = Arc::clone(&self.argon2id);
        self.work(move || argon2id.hash(&password.0)).await?.map_err(Refusal::internal)
    }

    /// Whether the password is the one of `hash`; costs the same when there is no hash.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Refusal> {
        let (argon2id, password, exists) = (Arc::clone(&self.argon2id), normal(password), hash.is_some());
        let hash = hash.unwrap_or(&self.nobodys).to_owned();
        let matches = self.work(move || argon2id.verify(&password, &hash)).await?.map_err(Refusal::internal)?;
        Ok(matches && exists)
    }

    /// A hash of the cost of today in place of one of another cost; none if it is up to date.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn renew(&self, password: &str, hash: &str) -> Result<Option<String>, Refusal> {
        if self.argon2id.made(hash) {
            return Ok(None);
        }
        self.hash(NewPassword(normal(password))).await.map(Some)
    }

    /// How long one hash takes, the median of so many.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn time(&self, rounds: usize) -> Result<Duration, String> {
        let timed = (0..rounds).map(|_| {
            let began = Instant::now();
            self.argon2id.hash("nobody has this password").map(|_| began.elapsed())
        });
        let mut times = timed.collect::<Result<Vec<_>, _>>()?;
        times.sort();
        Ok(times.get(rounds / 2).copied().unwrap_or_default())
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let _presence = Arc::clone(&self.present).try_acquire_owned().map_err(|_| Refusal::overloaded())?;
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.working).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(Refusal::overloaded()) };
        // The permit moves along: a client that leaves does not make room while the work goes on.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(Refusal::internal)
    }
}

/// Whether somebody of this name may have a password of at least `length` characters.
///
/// # Errors
/// A sentence for the client.
pub fn accept(password: &str, username: &str, length: usize) -> Result<NewPassword, String> {
    let password = normal(password);
    let characters = password.chars().count();
    if !(length..=MAX_CHARACTERS).contains(&characters) {
        return Err(format!("password must have {length} to {MAX_CHARACTERS} characters."));
    }
    // Fewer than a million guesses: a common password, a name, a row of keys, or little more.
    if zxcvbn(&password, &[username, "cosygate"]).score() < Score::Two {
        return Err("password is too easy to guess: it is common or follows a pattern. \
                    Four words that have nothing to do with each other are better."
            .to_owned());
    }
    Ok(NewPassword(password))
}

/// One form for what can be typed in several (NFKC, as SP 800-63B-4 recommends).
fn normal(password: &str) -> String {
    password.nfkc().collect()
}

#[cfg(test)]
mod tests;

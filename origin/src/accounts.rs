//! Names and passwords: how they are read, and how passwords are kept (RFC 9106, argon2id).

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

use crate::problem::Refusal;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// How many hashes may wait for their turn.
const QUEUE: usize = 128;
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes passwords: few at once, because each takes a core and 19 MiB.
pub struct Passwords {
    argon2: Argon2<'static>,
    working: Arc<Semaphore>,
    present: Arc<Semaphore>,
    /// Verified in place of a missing user's, so that the time does not tell that it is missing.
    nobodys: String,
}

impl Passwords {
    /// With the cost for production.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, String> {
        Self::with_cost(MEMORY_KIB, PASSES)
    }

    /// With a cost of one's own, `memory_kib` of memory and `passes` over it.
    ///
    /// # Errors
    /// The cost is out of range, or the system gives no random bytes.
    pub fn with_cost(memory_kib: u32, passes: u32) -> Result<Self, String> {
        let params = Params::new(memory_kib, passes, 1, None).map_err(|error| error.to_string())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let at_once = std::thread::available_parallelism().map_or(1, usize::from) * 2;
        let nobodys = hash_now(&argon2, "nobody has this password")?;
        Ok(Self {
            argon2,
            working: Arc::new(Semaphore::new(at_once)),
            present: Arc::new(Semaphore::new(at_once + QUEUE)),
            nobodys,
        })
    }

    /// The PHC string of a password under a fresh salt.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn hash(&self, password: String) -> Result<String, Refusal> {
        let argon2 = self.argon2.clone();
        self.work(move || hash_now(&argon2, &password)).await?.map_err(Refusal::internal)
    }

    /// Whether the password is the one of `hash`; costs the same when there is no hash.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Refusal> {
        let argon2 = self.argon2.clone();
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobodys.clone());
        let matches = move || {
            let hash = PasswordHash::new(&hash).map_err(|error| error.to_string())?;
            Ok::<_, String>(argon2.verify_password(password.as_bytes(), &hash).is_ok())
        };
        let matches = self.work(matches).await?.map_err(Refusal::internal)?;
        Ok(matches && exists)
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

fn hash_now(argon2: &Argon2<'_>, password: &str) -> Result<String, String> {
    argon2.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// A username in the one form in which it is kept and compared, or what is wrong with it.
///
/// # Errors
/// A sentence for the client.
pub fn fold_username(name: &str) -> Result<String, &'static str> {
    // Lower case can decompose a character, hence the second pass.
    let folded: String = name.nfkc().collect::<String>().to_lowercase().nfkc().collect();
    let is_good = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '.' | '_' | '-')
    };
    if !folded.chars().all(is_good) {
        return Err("username may have letters, digits, `.`, `_` and `-` only.");
    }
    if !(3..=64).contains(&folded.len()) {
        return Err("username must have 3 to 64 characters.");
    }
    Ok(folded)
}

/// Whether a new password is long enough and not too long.
///
/// # Errors
/// A sentence for the client.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if (8..=256).contains(&password.chars().count()) { Ok(()) } else { Err("password must have 8 to 256 characters.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_have_one_form() {
        for (given, kept) in [("Ada", "ada"), ("ＡＤＡ９", "ada9"), ("a.b_c-d", "a.b_c-d"), ("Ⓐⓑⓒ", "abc")] {
            assert_eq!(fold_username(given).as_deref(), Ok(kept));
        }
        for refused in ["", "ab", "ada lovelace", "adä", "ada\0", "ada/..", "İvan", &"a".repeat(65), "аda"] {
            assert!(fold_username(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn passwords_are_counted_in_characters() {
        assert!(check_password("密码密码密码密码").is_ok());
        assert!(check_password("seven77").is_err());
        assert!(check_password(&"x".repeat(257)).is_err());
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_matches() {
        let passwords = Passwords::with_cost(64, 1).unwrap();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("wrong horse".to_owned(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".to_owned(), None).await.unwrap());
    }
}

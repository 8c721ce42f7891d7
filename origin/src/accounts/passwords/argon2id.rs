//! Argon2id (RFC 9106) in memory that is used again. Freed memory of this size the allocator keeps,
//! a piece for each thread that ever hashed, so many logins at once would make the process grow by
//! gigabytes.

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Hashes at one cost.
pub(super) struct Argon2id {
    params: Params,
    /// Memory that nobody uses at the moment: as many pieces as were ever used at once.
    idle: Mutex<Vec<Vec<Block>>>,
}

impl Argon2id {
    /// With so much memory, in KiB, and so many passes over it.
    ///
    /// # Errors
    /// They are out of range.
    pub(super) fn new(memory_kib: u32, passes: u32) -> Result<Self, String> {
        let params = Params::new(memory_kib, passes, 1, None).map_err(|error| error.to_string())?;
        Ok(Self { params, idle: Mutex::default() })
    }

    /// The PHC string of a password under a fresh salt.
    ///
    /// # Errors
    /// Never, in truth.
    pub(super) fn hash(&self, password: &str) -> Result<String, String> {
        let salt = Salt::generate();
        let output = self.output(Algorithm::Argon2id, Version::V0x13, &self.params, password, &salt)?;
        let params = ParamsString::try_from(&self.params).map_err(|error| error.to_string())?;
        let (algorithm, version) = (Algorithm::Argon2id.ident(), Some(Version::V0x13.into()));
        Ok(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(output) }.to_string())
    }

    /// Whether a PHC string is that of a password, at whatever cost it was made.
    ///
    /// # Errors
    /// It is none of Argon2.
    pub(super) fn verify(&self, password: &str, hash: &str) -> Result<bool, String> {
        let hash = PasswordHash::new(hash).map_err(|error| error.to_string())?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|error| error.to_string())?;
        let version = hash.version.unwrap_or(Version::V0x13.into());
        let version = Version::try_from(version).map_err(|error| error.to_string())?;
        let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Err("not a whole hash".to_owned()) };
        // Outputs are compared in constant time.
        Ok(self.output(algorithm, version, &params, password, &salt)? == expected)
    }

    /// Whether a PHC string was made at this cost.
    pub(super) fn made(&self, hash: &str) -> bool {
        let Ok(hash) = PasswordHash::new(hash) else { return false };
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let is_argon2id = hash.algorithm.as_str() == Algorithm::Argon2id.as_str();
        is_argon2id && Params::try_from(&hash).is_ok_and(|params| costs(&params) == costs(&self.params))
    }

    fn output(
        &self,
        algorithm: Algorithm,
        version: Version,
        params: &Params,
        password: &str,
        salt: &Salt,
    ) -> Result<Output, String> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_default();
        memory.resize(memory.len().max(params.block_count()), Block::default());
        let mut output = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let output = output.get_mut(..length).ok_or("too long")?;
        let argon2 = Argon2::new(algorithm, version, params.clone());
        let hashed = argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut memory);
        // What an older, larger cost needed is not kept.
        if memory.len() <= self.params.block_count() {
            idle().push(memory);
        }
        hashed.map_err(|error| error.to_string())?;
        Output::new(output).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_everybody_else() {
        // Of the test vectors of the reference implementation (phc-winner-argon2, src/test.c).
        let argon2id = Argon2id::new(64, 1).unwrap();
        let known = "$argon2id$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$\
                     9qWtwbpyPd3vm1rB1GThgPzZ3/ydHL92zKL+15XZypg";
        assert_eq!(argon2id.verify("password", known), Ok(true));
        assert_eq!(argon2id.verify("differentpassword", known), Ok(false));
        assert!(argon2id.idle.lock().unwrap().iter().all(|memory| memory.len() <= 64));
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(128, 2, 1, None).unwrap());
        let hash = theirs.hash_password(b"correct horse").unwrap().to_string();
        assert_eq!(argon2id.verify("correct horse", &hash), Ok(true));
        let ours = argon2id.hash("correct horse").unwrap();
        assert!(theirs.verify_password(b"correct horse", &PasswordHash::new(&ours).unwrap()).is_ok());
        assert!(argon2id.made(&ours) && !argon2id.made(&hash) && !argon2id.made("$2b$12$x"));
        assert!(argon2id.verify("correct horse", "no hash").is_err());
    }

    #[test]
    fn memory_is_used_again() {
        let argon2id = Argon2id::new(64, 1).unwrap();
        for _ in 0..10 {
            argon2id.hash("correct horse").unwrap();
        }
        assert_eq!(argon2id.idle.lock().unwrap().len(), 1);
    }
}

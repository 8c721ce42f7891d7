//! Tokens, minted before anything is measured.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

/// An algorithm and its issuer.
pub struct Algorithm {
    /// The registered name, as in `alg`.
    pub name: &'static str,
    /// The issuer, which signs with this algorithm only.
    pub issuer: &'static str,
    /// The test key's name.
    pub key: &'static str,
    /// The path that its tokens are sent to, below `/speech/` and `/check/`.
    pub path: &'static str,
    /// How many distinct tokens are sent in turn, so many that the filter's cache of 1024 places
    /// hardly ever knows one: a token is still there with a probability of e^(-count / 1024).
    /// Signing with ECDSA and RSA is slow; their numbers leave 0.3 % and 2 %.
    pub count: u64,
}

/// What is measured.
pub const ALGORITHMS: [Algorithm; 4] = [
    Algorithm { name: "EdDSA", issuer: "https://eddsa.example", key: "ed", path: "eddsa", count: 20_000 },
    Algorithm { name: "ES256", issuer: "https://es256.example", key: "p256", path: "es256", count: 6_000 },
    Algorithm { name: "RS256", issuer: "https://rs256.example", key: "rsa", path: "rs256", count: 4_000 },
    Algorithm { name: "HS256", issuer: "https://hs256.example", key: "secret", path: "hs256", count: 20_000 },
];

/// Everybody's audience.
pub const AUDIENCE: &str = "cosygate";

/// Mints tokens of one algorithm.
pub struct Mint<'a> {
    algorithm: &'a Algorithm,
    key: EncodingKey,
    now: u64,
}

impl<'a> Mint<'a> {
    /// A mint whose tokens hold for an hour from now.
    pub fn new(algorithm: &'a Algorithm) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self { algorithm, key: cases::private_key(algorithm.key), now }
    }

    /// Whom the tokens are about; somebody else with every algorithm, so that limits do not meet.
    pub fn subject(&self) -> String {
        format!("alice-{}", self.algorithm.path)
    }

    /// A sound token; `number` makes it distinct.
    pub fn token(&self, role: &str, number: u64) -> String {
        self.token_of(&self.subject(), role, number)
    }

    /// A sound token of somebody.
    pub fn token_of(&self, subject: &str, role: &str, number: u64) -> String {
        let header = json!({"alg": self.algorithm.name, "typ": "at+jwt", "kid": self.algorithm.key});
        let claims = json!({
            "iss": self.algorithm.issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "role": role,
            "scope": "speech",
            "jti": format!("token-{number:08}"),
            "auth_time": self.now,
            "iat": self.now,
            "exp": self.now + 3600,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = crypto::sign(signed.as_bytes(), &self.key, self.algorithm.name.parse().unwrap()).unwrap();
        format!("{signed}.{signature}")
    }
}

/// The token with the end of its signature changed. It stays well-formed, so only the whole
/// verification finds out.
pub fn with_bad_signature(token: &str) -> String {
    let (rest, end) = token.split_at(token.len() - 12);
    let other = if end == "AAAAAAAAAAAA" { "BBBBBBBBBBBA" } else { "AAAAAAAAAAAA" };
    format!("{rest}{other}")
}

/// The token without its signature.
pub fn malformed(token: &str) -> String {
    token.rsplit_once('.').unwrap().0.to_owned()
}

/// Sound tokens of each of [`ALGORITHMS`], all distinct. Takes some seconds, most of them for RSA.
pub fn mint() -> Vec<Vec<String>> {
    let mint = |algorithm| {
        let mint = Mint::new(algorithm);
        (0..algorithm.count).map(|number| mint.token("free", number)).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = ALGORITHMS.iter().map(|algorithm| scope.spawn(move || mint(algorithm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Requests to send in turn: files with a path and a token on each line.
pub struct Requests {
    /// Sound tokens, one of each algorithm.
    pub warm: PathBuf,
    /// Ever new sound tokens, for each of [`ALGORITHMS`].
    pub cold: Vec<PathBuf>,
    /// Tokens whose signature does not hold.
    pub bad_signature: PathBuf,
    /// Tokens that are none.
    pub malformed: PathBuf,
}

impl Requests {
    /// Writes what was [minted](mint) into files.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(folder: &Path, minted: &[Vec<String>]) -> std::io::Result<Self> {
        let write = |name: &str, tokens: &mut dyn Iterator<Item = (&Algorithm, String)>| {
            let file = folder.join(name);
            let lines: String =
                tokens.map(|(algorithm, token)| format!("/speech/{} {token}\n", algorithm.path)).collect();
            std::fs::write(&file, lines).map(|()| file)
        };
        let sound = || ALGORITHMS.iter().zip(minted);
        let (eddsa, tokens) = (&ALGORITHMS[0], &minted[0]);
        Ok(Self {
            warm: write("warm", &mut sound().map(|(algorithm, tokens)| (algorithm, tokens[0].clone())))?,
            cold: sound()
                .map(|(algorithm, tokens)| {
                    write(algorithm.path, &mut tokens.iter().map(|token| (algorithm, token.clone())))
                })
                .collect::<Result<_, _>>()?,
            bad_signature: write("bad-signature", &mut tokens.iter().map(|token| (eddsa, with_bad_signature(token))))?,
            malformed: write("malformed", &mut tokens.iter().map(|token| (eddsa, malformed(token))))?,
        })
    }
}

//! The attack corpus: what an attacker sends, how it is sent and what came of it.
//!
//! A [`Case`] is one attack, as bytes, with what it wants. [`run`] sends cases to an edge, finds
//! out what the origin saw of each and says which got through. The integration tests and the
//! program `attack` share all of it.

/// What a token says: times, audience, issuer, role, subject.
mod claims;
/// Signatures and keys.
mod crypto;
/// Envoys before an echo: ours, one with `jwt_authn`, and one with nothing.
pub mod edges;
/// The form of a token: parts, alphabet, JSON, size.
mod forms;
/// A client that writes HTTP/2 frames as it likes.
mod http2;
/// A listener that nobody should ever visit.
pub mod lure;
/// Tokens, sound and forged.
pub mod mint;
/// Every way to damage a sound token.
mod mutate;
/// Arithmetic on signatures, and DER.
mod numbers;
/// Spellings of a path.
mod paths;
/// JSON that two readers read differently.
mod readings;
/// Credentials, methods, hosts and headers that mean something to a proxy.
mod requests;
/// Sends cases and gathers what came of them.
pub mod run;
/// Where one request ends and the next begins.
mod smuggle;
/// Identity that a client claims for itself.
mod spoof;
/// The result, as a table.
pub mod table;
/// A client that writes HTTP/1.1 as it likes.
pub mod wire;

use std::net::SocketAddr;

use crate::echo::Received;
use mint::Mint;

/// Stands for the number of the case in everything that is sent; replaced by as many digits.
pub const MARK: &str = "~mark~~~";
/// The header that carries it.
pub const MARK_HEADER: &str = "x-attack";
/// What an attacker claims to be. It must never reach the origin.
pub const CANARY: &str = "evil-canary";
/// Stands in the target of every request that hides inside another one.
pub const SMUGGLED: &str = "smuggled";

/// Attacks of one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// What they are, in a few words.
    pub name: &'static str,
    /// What it means that one gets through.
    pub through: &'static str,
}

/// One attack.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its kind.
    pub family: &'static Family,
    /// What sets it apart within its kind.
    pub name: String,
    /// What is sent.
    pub shot: Shot,
    /// What it wants.
    pub goal: Goal,
    /// The code of cosygate's refusal; `None` if there may be another answer.
    pub code: Option<&'static str>,
}

/// How an attack is sent. [`MARK`] stands for its number.
#[derive(Clone, Debug)]
pub enum Shot {
    /// One whole, well-formed HTTP/1.1 request; others may follow on the connection.
    Http1(Vec<u8>),
    /// Any bytes, on a connection of their own.
    Raw(Vec<u8>),
    /// One HTTP/2 stream, on a connection of its own.
    Http2(http2::Stream),
}

/// What an attack wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To reach the origin at all.
    Arrive,
    /// To reach the origin with the [`CANARY`], or without what the edge says of the caller.
    Claim {
        /// Whom the edge must name, if it knows somebody.
        user: Option<String>,
    },
    /// To arrive as the victim, with another role than `free`, or as more than one user.
    Become {
        /// The user id of the victim.
        victim: String,
    },
    /// To reach the origin with a target that some server reads as this path.
    Path(String),
    /// To make the origin see a request that the edge did not.
    Smuggle,
    /// To make the edge fetch something; the request itself may pass.
    Fetch,
}

/// Where the corpus is sent, and what is known of the place.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it listens.
    pub address: SocketAddr,
    /// Host and port as clients name them.
    pub host: String,
    /// A path that needs a credential and answers to GET.
    pub path: String,
    /// A path to which anybody may POST.
    pub open: Option<String>,
    /// A sound token of a user.
    pub token: Option<String>,
    /// The id of that user.
    pub user: Option<String>,
    /// Whether [`crate::echo::Echo`] is behind it, so that what arrives is known.
    pub echo: bool,
    /// What an unknown path answers to everybody, if that is a success.
    pub nowhere: Option<Vec<u8>>,
}

/// The attacks that need no signing key. Some of them need a sound token, and are left out
/// without one.
pub fn without_key(site: &Site) -> Vec<Case> {
    let mut cases = forms::made_up(site);
    if let Some(token) = &site.token {
        cases.extend(mutate::cases(site, "the token", token, 1));
    }
    cases.extend(spoofed(site));
    cases.extend(requests::cases(site));
    cases.extend(paths::without_credential(site));
    cases.extend(smuggled(site));
    cases
}

/// Everything. `lure` is where `jku` and the like point, `ring` the text of the edge's identity
/// keys.
pub fn all(site: &Site, mint: &Mint, lure: SocketAddr, ring: &str) -> Vec<Case> {
    let mut cases = tokens(site, mint, lure);
    cases.extend(damaged(site, mint));
    cases.extend(spoofed(site));
    cases.extend(smuggled(site));
    cases.extend(others(site, mint, ring));
    cases
}

/// Every token that must be refused for what it is (RFC 8725), but for [`damaged`] ones.
pub fn tokens(site: &Site, mint: &Mint, lure: SocketAddr) -> Vec<Case> {
    let mut cases = forms::made_up(site);
    cases.extend(forms::cases(site, mint));
    cases.extend(readings::cases(site, mint));
    cases.extend(crypto::cases(site, mint, lure));
    cases.extend(claims::cases(site, mint, lure));
    cases
}

/// Sound tokens of every algorithm, damaged.
pub fn damaged(site: &Site, mint: &Mint) -> Vec<Case> {
    let cases = |algorithm: &mint::Algorithm| {
        // No host verifies PSS for the filter, so each of these takes it a while.
        let every = if algorithm.name.starts_with("PS") { 25 } else { 7 };
        mutate::cases(site, algorithm.name, &mint.sound(algorithm), every)
    };
    mint::ALGORITHMS.iter().flat_map(cases).collect()
}

/// Requests that claim an identity.
pub fn spoofed(site: &Site) -> Vec<Case> {
    spoof::cases(site)
}

/// Requests inside requests.
pub fn smuggled(site: &Site) -> Vec<Case> {
    smuggle::cases(site)
}

/// What is left: credentials, methods, hosts, paths, and tokens that pass as somebody.
pub fn others(site: &Site, mint: &Mint, ring: &str) -> Vec<Case> {
    let mut cases = requests::cases(site);
    cases.extend(requests::with_key(site, mint, ring));
    cases.extend(paths::without_credential(site));
    cases.extend(paths::with_weak_role(site, mint));
    cases.extend(claims::subjects(site, mint));
    cases
}

/// One attack with a token, sent as everybody sends tokens.
fn with_token(site: &Site, family: &'static Family, name: impl Into<String>, token: impl AsRef<[u8]>) -> Case {
    let token = token.as_ref();
    let request = wire::request("GET", &site.path, &site.host).header("authorization", [b"Bearer ", token].concat());
    // Control characters cannot stand in a header, and there is no room for very long ones: Envoy refuses the request
    // by its form and ends the connection. A line feed at the end only ends the header early, and a carriage return
    // alone is read as a space.
    let (text, ended) = token.strip_suffix(b"\n").map_or((token, false), |text| (text, true));
    let breaks = text.iter().any(|byte| (*byte < 0x20 && !matches!(byte, b'\t' | b'\r')) || *byte == 0x7f);
    let long = token.len() > 30 * 1024;
    let shot = if breaks || ended || long { Shot::Raw(request.close().bytes()) } else { Shot::Http1(request.bytes()) };
    let code = if breaks || long { "request_invalid" } else { "token_invalid" };
    Case { family, name: name.into(), shot, goal: Goal::Arrive, code: Some(code) }
}

/// What the origin was told of the caller: the headers that only the edge may write.
pub fn identity(received: &Received) -> Vec<(&str, &str)> {
    let fields = received.headers.iter().chain(&received.trailers);
    fields
        .filter(|(name, _)| name.starts_with("x-user") || name.starts_with("x-cosygate"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

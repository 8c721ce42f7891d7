//! Which headers a client may not send, and where its credential stands.

use crate::claims::invalid;
use crate::problem::{Code, Problem};

/// The cookie that carries a token in place of the header `Authorization`.
pub const COOKIE: &str = "cosygate";
/// The same over TLS. Browsers take a cookie of this prefix only from this very host (RFC 6265bis,
/// section 4.1.3.2), so no other host of the domain can put one in its place.
pub const SECURE_COOKIE: &str = "__Host-cosygate";
/// The cookie that carries a refresh token.
pub const REFRESH_COOKIE: &str = "cosygate-refresh";
/// The same over TLS.
pub const SECURE_REFRESH_COOKIE: &str = "__Host-cosygate-refresh";
/// The only paths on which the refresh cookie is handed on.
const REFRESH_PATHS: [&str; 2] = ["/refresh", "/logout"];

/// The headers of a request as Envoy gives them: lower-case names, raw values, duplicates apart,
/// pseudo-headers (RFC 9113, section 8.3) first.
pub type Headers<'a> = [(&'a str, &'a [u8])];

/// The headers that decide something, picked out in one pass.
#[derive(Clone, Copy, Default)]
pub struct Seen<'a> {
    all: &'a Headers<'a>,
    /// The method; empty, and so matched by no rule, when it is not ASCII. The same holds for the
    /// texts below.
    pub method: &'a str,
    /// The target: path and query.
    pub target: &'a str,
    /// The host and port that the client asked for.
    pub authority: &'a str,
    /// The id that Envoy gave the request.
    pub request_id: &'a str,
    authorization: Once<'a>,
    origin: Once<'a>,
    fetch_site: Once<'a>,
    content_length: Once<'a>,
    forwarded_for: Once<'a>,
    forwarded_proto: Once<'a>,
    asked_method: Once<'a>,
    has_cookie: bool,
    has_claims: bool,
    has_idempotency_key: bool,
    upgrade: Once<'a>,
    connection: Once<'a>,
}

/// A header that may stand once.
#[derive(Clone, Copy, Default)]
enum Once<'a> {
    #[default]
    Never,
    Single(&'a [u8]),
    Twice,
}

impl<'a> Once<'a> {
    fn put(&mut self, value: &'a [u8]) {
        *self = if matches!(self, Self::Never) { Self::Single(value) } else { Self::Twice };
    }

    /// Its text; `None` when it is absent, doubled or not ASCII.
    fn text(self) -> Option<&'a str> {
        match self {
            Self::Single(value) => ascii(value),
            Self::Never | Self::Twice => None,
        }
    }
}

fn ascii(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| text.is_ascii())
}

impl<'a> Seen<'a> {
    /// Looks at every header once.
    pub fn new(all: &'a Headers<'a>) -> Self {
        let mut seen = Self { all, ..Self::default() };
        for (name, value) in all {
            let text = || ascii(value).unwrap_or_default();
            match *name {
                ":method" => seen.method = text(),
                ":path" => seen.target = text(),
                ":authority" => seen.authority = text(),
                "x-request-id" => seen.request_id = text(),
                "idempotency-key" => seen.has_idempotency_key = true,
                "origin" => seen.origin.put(value),
                "sec-fetch-site" => seen.fetch_site.put(value),
                "content-length" => seen.content_length.put(value),
                "x-forwarded-for" => seen.forwarded_for.put(value),
                "x-forwarded-proto" => seen.forwarded_proto.put(value),
                "access-control-request-method" => seen.asked_method.put(value),
                "upgrade" => seen.upgrade.put(value),
                "connection" => seen.connection.put(value),
                "cookie" => seen.has_cookie = true,
                "authorization" => {
                    seen.authorization.put(value);
                    seen.has_claims = true;
                }
                name => seen.has_claims |= is_removed(name),
            }
        }
        seen
    }

    /// Whether it may be the repetition of a request that was answered before
    /// (draft-ietf-httpapi-idempotency-key-header). Only the origin knows, and what it answers then
    /// is not charged again.
    pub fn may_be_repeated(&self) -> bool {
        self.has_idempotency_key
    }

    /// Whether the connection is to become something else, a WebSocket for example.
    pub fn is_upgrade(&self) -> bool {
        !matches!(self.upgrade, Once::Never)
    }

    /// Whether it is to become a WebSocket (RFC 6455, section 4.1), in the one form that every
    /// server takes for it.
    pub fn is_websocket(&self) -> bool {
        let is = |once: Once<'a>, word: &str| once.text().is_some_and(|text| text.eq_ignore_ascii_case(word));
        let asks = |text: &str| text.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
        is(self.upgrade, "websocket") && self.connection.text().is_some_and(asks)
    }

    /// The site of the page that asks, if a browser says so (Fetch, section 3.2).
    pub fn origin(&self) -> Option<&'a str> {
        self.origin.text()
    }

    /// The method that a preflight asks about (Fetch, section 4.8).
    pub fn asked_method(&self) -> Option<&'a str> {
        self.asked_method.text()
    }

    /// The announced length of the body, in bytes.
    ///
    /// # Errors
    /// It stands twice or is no number.
    pub fn content_length(&self) -> Result<Option<u64>, Problem> {
        match self.content_length {
            Once::Never => Ok(None),
            once => once
                .text()
                .and_then(|text| text.parse().ok())
                .map(Some)
                .ok_or_else(|| Problem::new(Code::RequestInvalid, "Content-Length is not a number.")),
        }
    }

    /// The client's address by the list of hops in `x-forwarded-for`, of which the last `trusted`
    /// were written by proxies of ours, the very last by this Envoy. `None` if the list is
    /// shorter or not there.
    pub fn forwarded_for(&self, trusted: u8) -> Option<&'a str> {
        self.forwarded_for.text()?.rsplit(',').nth(usize::from(trusted)).map(str::trim)
    }

    /// Whether `x-forwarded-for` says more than one hop.
    pub fn has_hops(&self) -> bool {
        match self.forwarded_for {
            Once::Never => false,
            once => once.text().is_none_or(|text| text.contains(',')),
        }
    }

    /// The headers that the request must lose, by their exact names, each once.
    pub fn to_remove(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        if self.has_claims {
            for (name, _) in self.all {
                if is_removed(name) && !names.contains(name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Whether the client speaks TLS with the edge, as Envoy says.
    fn is_secure(&self) -> bool {
        self.forwarded_proto.text() == Some("https")
    }

    /// The header `Cookie` without our own cookies: `None` if nothing changes, otherwise what is
    /// left, which may be nothing. A refresh token stays where one is exchanged.
    pub fn cookie_without_credential(&self) -> Option<Vec<u8>> {
        let path = self.target.split('?').next().unwrap_or_default();
        let exchanged = REFRESH_PATHS.contains(&path).then(|| refresh_cookie(self.is_secure()));
        let ours = |pair: &&[u8]| {
            let is = |name: &str| value_of(pair, name).is_some();
            [COOKIE, SECURE_COOKIE].into_iter().any(is)
                || [REFRESH_COOKIE, SECURE_REFRESH_COOKIE].into_iter().any(|name| is(name) && exchanged != Some(name))
        };
        if !self.cookie_pairs().any(|pair| ours(&pair)) {
            return None;
        }
        let rest: Vec<&[u8]> = self.cookie_pairs().filter(|pair| !ours(pair)).collect();
        Some(rest.join(&b"; "[..]))
    }

    fn cookie_pairs(&self) -> impl Iterator<Item = &'a [u8]> {
        let cookies = if self.has_cookie { self.all } else { &[] };
        cookies
            .iter()
            .filter(|(name, _)| *name == "cookie")
            .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty())
    }

    /// Finds the one credential of a request (RFC 6750, section 2.1, or our cookie).
    ///
    /// # Errors
    /// `token_missing` if there is none; `token_invalid` if there are two, or one that does not
    /// begin with `Bearer `.
    pub fn credential(&self) -> Result<Credential<'a>, Problem> {
        let bearer = match self.authorization {
            Once::Never => None,
            Once::Twice => return Err(invalid("two Authorization headers")),
            Once::Single(value) => Some(bearer(value).ok_or_else(|| invalid("Authorization is not one bearer token"))?),
        };
        let name = credential_cookie(self.is_secure());
        let mut cookies = self.cookie_pairs().filter_map(|pair| value_of(pair, name));
        let cookie = cookies.next();
        if cookies.next().is_some() {
            return Err(invalid("two token cookies"));
        }
        match (bearer, cookie) {
            (Some(_), Some(_)) => Err(invalid("a header and a cookie at once")),
            (Some(token), None) => Ok(Credential { token, from_cookie: false }),
            (None, Some(token)) => Ok(Credential { token, from_cookie: true }),
            (None, None) => Err(Problem::new(Code::TokenMissing, "Log in first: this needs a token.")),
        }
    }

    /// Whether a page of another site asks.
    pub fn is_cross_site(&self) -> bool {
        self.fetch_site.text() == Some("cross-site")
    }

    /// Refuses a request with which another site's page may be riding on the user's cookie.
    ///
    /// Browsers say where a request comes from in `Sec-Fetch-Site`, older ones in `Origin`; script
    /// cannot forge either. A request that says neither is refused, too. A WebSocket begins with
    /// a GET, but what follows is not safe.
    ///
    /// # Errors
    /// `csrf_refused`.
    pub fn check_same_origin(&self) -> Result<(), Problem> {
        if matches!(self.method, "GET" | "HEAD" | "OPTIONS") && !self.is_upgrade() {
            return Ok(());
        }
        let same = match self.fetch_site.text() {
            Some(site) => site == "same-origin" || site == "none",
            None => self
                .origin()
                .and_then(|origin| origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")))
                .is_some_and(|host| host.eq_ignore_ascii_case(self.authority)),
        };
        if same {
            Ok(())
        } else {
            Err(Problem::new(
                Code::CsrfRefused,
                "A cookie works only from the page itself. Other programs send the header Authorization.",
            ))
        }
    }
}

/// A token and how it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The token as it stands there, not looked at.
    pub token: &'a [u8],
    /// The browser sent it by itself, so the request may not be the user's own.
    pub from_cookie: bool,
}

/// Whether a client's own header of this name is removed, on every route, before anything else:
/// whatever speaks of identity, in any case and with `_` for `-`, and the credential itself, which
/// is not for the origin.
pub fn is_removed(name: &str) -> bool {
    const PREFIXES: [&[u8]; 2] = [b"x-user-", b"x-cosygate-"];
    let name = name.as_bytes();
    // Most names end here.
    if !matches!(name.first(), Some(b'x' | b'X' | b'a' | b'A' | b'p' | b'P')) {
        return false;
    }
    let plain = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    let starts = |prefix: &[u8]| name.len() >= prefix.len() && name.iter().map(plain).zip(prefix).all(|(a, b)| a == *b);
    let is = |whole: &[u8]| name.len() == whole.len() && starts(whole);
    PREFIXES.iter().any(|prefix| starts(prefix))
        || is(b"x-user")
        || is(b"x-cosygate")
        || is(b"authorization")
        || is(b"proxy-authorization")
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

impl<'a> Credential<'a> {
    /// The token as text: dots and base64url. Nothing else reaches the parser.
    pub fn text(&self) -> Option<&'a str> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.token.is_empty() || !self.token.iter().all(fits) {
            return None;
        }
        std::str::from_utf8(self.token).ok()
    }
}

/// The one name under which a cookie is a credential. The other name is none, so that two never
/// stand side by side, and over TLS none counts that another host may have set.
pub fn credential_cookie(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE } else { COOKIE }
}

/// The one name under which a cookie carries a refresh token.
pub fn refresh_cookie(is_secure: bool) -> &'static str {
    if is_secure { SECURE_REFRESH_COOKIE } else { REFRESH_COOKIE }
}

/// The value of a cookie, if the pair has this name.
pub fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests;

//! Which headers a client may not send, and where its credential stands.

use crate::claims::invalid;
use crate::problem::{Code, Problem};

/// The cookie that carries a token in place of the header `Authorization`.
pub const COOKIE: &str = "cosygate";

/// The headers of a request as Envoy gives them: lower-case names, raw values, duplicates apart.
pub type Headers<'a> = [(&'a str, &'a [u8])];

/// Whether a client's own header of this name is removed, on every route, before anything else:
/// whatever speaks of identity, in any case and with `_` for `-`, and the credential itself, which
/// is not for the origin.
pub fn is_removed(name: &str) -> bool {
    const PREFIXES: [&[u8]; 2] = [b"x-user-", b"x-cosygate-"];
    let name = name.as_bytes();
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let starts = |prefix: &[u8]| name.len() >= prefix.len() && name.iter().map(plain).zip(prefix).all(|(a, b)| a == *b);
    let is = |whole: &[u8]| name.len() == whole.len() && starts(whole);
    PREFIXES.iter().any(|prefix| starts(prefix))
        || is(b"x-user")
        || is(b"x-cosygate")
        || is(b"authorization")
        || is(b"proxy-authorization")
}

/// The headers that the request must lose, by their exact names, each once.
pub fn to_remove<'a>(headers: &Headers<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in headers {
        if is_removed(name) && !names.contains(name) {
            names.push(name);
        }
    }
    names
}

/// The header `Cookie` without our own cookie: `None` if nothing changes, otherwise what is left,
/// which may be nothing.
pub fn cookie_without_credential(headers: &Headers<'_>) -> Option<Vec<u8>> {
    let ours = |pair: &&[u8]| cookie_value(pair).is_some();
    let mut pairs = cookie_pairs(headers);
    if !pairs.any(|pair| ours(&pair)) {
        return None;
    }
    let rest: Vec<&[u8]> = cookie_pairs(headers).filter(|pair| !ours(pair)).collect();
    Some(rest.join(&b"; "[..]))
}

/// The value of the one header of this name; `None` when it is absent, doubled or not ASCII text.
pub fn single<'a>(headers: &Headers<'a>, name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(first).ok().filter(|value| value.is_ascii())
}

/// A token and how it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The token, unverified.
    pub token: &'a str,
    /// The browser sent it by itself, so the request may not be the user's own.
    pub from_cookie: bool,
}

/// Finds the one credential of a request (RFC 6750, section 2.1, or our cookie).
///
/// # Errors
/// `token_missing` if there is none; `token_invalid` if there are two, or one that is not of the
/// form `Bearer <token>`.
pub fn credential<'a>(headers: &Headers<'a>) -> Result<Credential<'a>, Problem> {
    let mut bearer = None;
    for (name, value) in headers {
        if *name != "authorization" {
            continue;
        }
        if bearer.is_some() {
            return Err(invalid("two Authorization headers"));
        }
        bearer = Some(bearer_token(value).ok_or_else(|| invalid("Authorization is not one bearer token"))?);
    }
    let mut cookies = cookie_pairs(headers).filter_map(cookie_value);
    let cookie = cookies.next();
    if cookies.next().is_some() {
        return Err(invalid("two token cookies"));
    }
    match (bearer, cookie) {
        (Some(_), Some(_)) => Err(invalid("a header and a cookie at once")),
        (Some(token), None) => Ok(Credential { token, from_cookie: false }),
        (None, Some(value)) => {
            let token = token_text(value).ok_or_else(|| invalid("the cookie is not a token"))?;
            Ok(Credential { token, from_cookie: true })
        }
        (None, None) => Err(Problem::new(Code::TokenMissing, "Log in first: this needs a token.")),
    }
}

/// Refuses a request with which another site's page may be riding on the user's cookie.
///
/// Browsers say where a request comes from in `Sec-Fetch-Site`, older ones in `Origin`; script
/// cannot forge either. A request that says neither is refused, too.
///
/// # Errors
/// `csrf_refused`.
pub fn check_same_origin(headers: &Headers<'_>, method: &str, authority: &str) -> Result<(), Problem> {
    if matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return Ok(());
    }
    let same = match single(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => single(headers, "origin")
            .and_then(|origin| origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")))
            .is_some_and(|host| host.eq_ignore_ascii_case(authority)),
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

fn bearer_token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    token_text(token)
}

/// A token is dots and base64url; nothing else reaches the parser.
fn token_text(value: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.iter().all(fits) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

fn cookie_pairs<'a>(headers: &Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(|(name, _)| *name == "cookie")
        .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn cookie_value(pair: &[u8]) -> Option<&[u8]> {
    pair.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(list: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a [u8])> {
        list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    #[test]
    fn every_spelling_of_identity_is_removed() {
        for name in [
            "x-user-id",
            "X-User-Role",
            "x_user_id",
            "x-user_id",
            "x-user-",
            "x-user-anything",
            "x-cosygate-identity",
            "X_Cosygate_Identity",
            "x-user",
            "authorization",
            "Proxy-Authorization",
        ] {
            assert!(is_removed(name), "{name}");
        }
        for name in ["x-users", "user-id", "x-request-id", "accept", "x-usermode", "", "x", "cookie"] {
            assert!(!is_removed(name), "{name}");
        }
    }

    #[test]
    fn exactly_one_credential() {
        let bearer = |value| credential(&headers(&[("authorization", value)])).map(|found| found.token.to_owned());
        assert_eq!(bearer("Bearer a.b.c").unwrap(), "a.b.c");
        assert_eq!(bearer("bEARER a.b.c").unwrap(), "a.b.c");
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a",
            "Bearer a b",
            "Bearer a,b",
            "Bearer\ta",
            "Basic YTpi",
            "a.b.c",
            "Bearer a=",
        ] {
            assert_eq!(bearer(refused).unwrap_err().code, Code::TokenInvalid, "{refused:?}");
        }
        let code = |list: &[(&str, &str)]| credential(&headers(list)).unwrap_err().code;
        assert_eq!(code(&[]), Code::TokenMissing);
        assert_eq!(code(&[("cookie", "other=1; cosygatex=2")]), Code::TokenMissing);
        assert_eq!(code(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), Code::TokenInvalid);
        assert_eq!(code(&[("authorization", "Bearer a"), ("cookie", "cosygate=a")]), Code::TokenInvalid);
        assert_eq!(code(&[("cookie", "cosygate=a; cosygate=a")]), Code::TokenInvalid);
        assert_eq!(code(&[("cookie", "cosygate=a"), ("cookie", "cosygate=b")]), Code::TokenInvalid);
        let with_cookie = headers(&[("cookie", "theme=dark; cosygate=a.b.c;x=y")]);
        assert_eq!(credential(&with_cookie).unwrap(), Credential { token: "a.b.c", from_cookie: true });
        assert_eq!(cookie_without_credential(&with_cookie).unwrap(), b"theme=dark; x=y");
        assert_eq!(cookie_without_credential(&headers(&[("cookie", "cosygate=a")])).unwrap(), b"");
        assert_eq!(cookie_without_credential(&headers(&[("cookie", "a=b")])), None);
    }

    #[test]
    fn a_cookie_works_only_from_the_page_itself() {
        let check =
            |list: &[(&str, &str)], method| check_same_origin(&headers(list), method, "speech.example:8443").is_ok();
        assert!(check(&[], "GET"));
        assert!(check(&[("sec-fetch-site", "same-origin")], "POST"));
        assert!(check(&[("origin", "https://speech.example:8443")], "DELETE"));
        for refused in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://speech.example:8443")],
            &[("origin", "null")],
            &[("origin", "https://speech.example")],
            &[("origin", "https://speech.example:8443.evil.example")],
        ] {
            assert!(!check(refused, "POST"), "{refused:?}");
        }
    }
}

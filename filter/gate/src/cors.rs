//! Pages of other sites: what their browsers are told (Fetch, section 3.2).

use crate::headers::Seen;
use crate::policy::Cors;
use crate::problem::{Code, Problem};
use crate::route::{Found, RouteTable, canonical_path};

/// What a page may send, besides what every page may.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, if-none-match, if-range, last-event-id, prefer, range, traceparent";
/// What a page may read, besides what every page may.
const EXPOSED_HEADERS: &str = "content-disposition, content-location, content-range, etag, location, preference-applied, \
     ratelimit, ratelimit-policy, retry-after, www-authenticate, x-quota-remaining, x-quota-reset, x-request-id";

/// The origin of the page that asks, if it is one of those that may.
fn allowed_origin<'a>(cors: &Cors, seen: &Seen<'a>) -> Option<&'a str> {
    seen.origin().filter(|origin| cors.origins.iter().any(|allowed| allowed == origin))
}

/// Whether a request is a preflight.
pub fn is_preflight(seen: &Seen<'_>) -> bool {
    seen.method == "OPTIONS" && seen.origin().is_some() && seen.asked_method().is_some()
}

/// The headers of the answer to a preflight: whether the method may be used on this path.
///
/// # Errors
/// `cors_refused` for a page that may not ask, `not_found` and `method_not_allowed` for what
/// there is not. Whether a caller may call is judged when they do.
pub fn preflight(cors: &Cors, routes: &RouteTable, seen: &Seen<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
    let Some(origin) = allowed_origin(cors, seen) else {
        return Err(Problem::new(Code::CorsRefused, "Pages of this site may not call from a browser."));
    };
    let path = canonical_path(seen.target)
        .ok_or_else(|| Problem::new(Code::RequestInvalid, "The path is not in its canonical form."))?;
    let asked = seen.asked_method().unwrap_or_default();
    match routes.find(path, asked) {
        Found::Route(_) => {}
        Found::OtherMethods(allow) => return Err(Problem::method_not_allowed(allow)),
        Found::Nothing => return Err(Problem::not_found()),
    }
    Ok(vec![
        ("access-control-allow-origin", origin.to_owned()),
        ("access-control-allow-methods", asked.to_owned()),
        ("access-control-allow-headers", ALLOWED_HEADERS.to_owned()),
        ("access-control-max-age", cors.max_age_s.to_string()),
        ("vary", "origin, access-control-request-method, access-control-request-headers".to_owned()),
    ])
}

/// The headers of every other answer to a page that may ask; `None` for all others.
pub fn headers(cors: &Cors, seen: &Seen<'_>) -> Option<[(&'static str, String); 2]> {
    let origin = allowed_origin(cors, seen)?;
    Some([
        ("access-control-allow-origin", origin.to_owned()),
        ("access-control-expose-headers", EXPOSED_HEADERS.to_owned()),
    ])
}

/// Whether an origin is written as browsers write it (RFC 6454, section 6.2).
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    matches!(scheme, "http" | "https")
        && !name.is_empty()
        && name.bytes().all(is_name)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port))
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn only_what_a_browser_would_send_is_an_origin() {
        for origin in ["https://app.example", "http://localhost:3000", "https://xn--fiq.example:8443"] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in
            ["*", "null", "app.example", "https://", "https://a.example/", "https://A.example", "https://a:0080"]
        {
            assert!(!is_origin(text), "{text}");
        }
    }
}

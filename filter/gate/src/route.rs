//! Which route a path takes; no route means no.

use std::collections::HashMap;

use crate::limit::Rate;
use crate::policy::{CompiledRole, LimitBy, PolicyError, Route, check_route, compile_rate};

/// A route, ready to judge by.
#[derive(Clone, Debug)]
pub struct CompiledRoute {
    /// Its place in the policy, from 0.
    pub index: usize,
    /// The pattern as written in the policy; the only source of route names that are counted.
    pub pattern: String,
    /// The methods that exist here, without the HEAD that GET brings.
    pub methods: Vec<String>,
    /// No credential is read.
    pub public: bool,
    /// Which roles may call, by index.
    pub roles: Vec<bool>,
    /// Scopes that must all be there.
    pub scopes: Vec<String>,
    /// What one call takes from the role's rate.
    pub cost: u32,
    /// The route's own limit.
    pub limit: Option<(LimitBy, Rate)>,
    /// The oldest login that will do, in seconds.
    pub fresh_login_s: Option<u32>,
    /// The largest body, in place of the role's or of the public routes'.
    pub body_bytes: Option<u64>,
    /// May become a WebSocket.
    pub websocket: bool,
    /// The origin charges calls to the day's quota.
    pub metered: bool,
}

/// The longest target that is looked at, in bytes: the seal, which repeats it, must fit a header.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// All routes of a policy.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: HashMap<String, Vec<CompiledRoute>>,
    /// Longest first.
    prefixes: Vec<(String, Vec<CompiledRoute>)>,
}

/// What the table says of a path and method.
#[derive(Debug)]
pub enum Found<'a> {
    /// This route.
    Route(&'a CompiledRoute),
    /// The path exists; these are its methods, for the header `Allow`.
    OtherMethods(String),
    /// Nothing.
    Nothing,
}

impl RouteTable {
    pub(crate) fn new(routes: &[Route], roles: &[CompiledRole]) -> Result<Self, PolicyError> {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let at = format!("/routes/{index}");
            check_route(route, roles, &at)?;
            let limit = match route.limit {
                None => None,
                Some(limit) => Some((limit.by, compile_rate(limit.per_minute, limit.burst, &format!("{at}/limit"))?)),
            };
            let pattern = route.path.as_ref().or(route.prefix.as_ref()).cloned().unwrap_or_default();
            let compiled = CompiledRoute {
                index,
                pattern: pattern.clone(),
                methods: route.methods.clone(),
                public: route.public,
                roles: roles.iter().map(|role| route.roles.contains(&role.name)).collect(),
                scopes: route.scopes.clone(),
                cost: route.cost.unwrap_or(1),
                limit,
                fresh_login_s: route.fresh_login_s,
                body_bytes: route.body_kb.map(|kb| u64::from(kb) * 1024),
                websocket: route.websocket,
                metered: route.metered,
            };
            let siblings = if route.path.is_some() {
                table.exact.entry(pattern).or_default()
            } else {
                match table.prefixes.iter().position(|(prefix, _)| *prefix == pattern) {
                    Some(found) => table.prefixes.get_mut(found).map(|(_, routes)| routes),
                    None => {
                        table.prefixes.push((pattern, Vec::new()));
                        table.prefixes.last_mut().map(|(_, routes)| routes)
                    }
                }
                .ok_or_else(|| PolicyError { at: at.clone(), message: "cannot be placed".to_owned() })?
            };
            if let Some(method) =
                compiled.methods.iter().find(|method| siblings.iter().any(|other| other.methods.contains(method)))
            {
                return Err(PolicyError {
                    at,
                    message: format!(
                        "an earlier route already has {method} on this pattern; this one would never be taken"
                    ),
                });
            }
            siblings.push(compiled);
        }
        table.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(table)
    }

    /// Looks a canonical path up. The most specific pattern alone decides.
    pub fn find(&self, path: &str, method: &str) -> Found<'_> {
        let siblings = self.exact.get(path).or_else(|| {
            self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix.as_str())).map(|(_, routes)| routes)
        });
        let Some(siblings) = siblings else { return Found::Nothing };
        let looked_up = if method == "HEAD" { "GET" } else { method };
        match siblings.iter().find(|route| route.methods.iter().any(|allowed| allowed == looked_up)) {
            Some(route) => Found::Route(route),
            None => {
                let mut allow: Vec<&str> =
                    siblings.iter().flat_map(|route| &route.methods).map(String::as_str).collect();
                if allow.contains(&"GET") {
                    allow.push("HEAD");
                }
                Found::OtherMethods(allow.join(", "))
            }
        }
    }

    /// Every route, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.exact.values().chain(self.prefixes.iter().map(|(_, routes)| routes)).flatten()
    }
}

/// Splits the target of a request into a canonical path and the rest, or refuses it.
///
/// A path that two programs could read differently is no path: empty, `.` and `..` segments,
/// backslashes, semicolons, control and non-ASCII bytes, and percent-encodings of unreserved
/// characters, slashes, dots, backslashes, semicolons or control characters are all refused
/// (RFC 3986, section 6.2.2, says what normalisation would make of them).
pub fn canonical_path(target: &str) -> Option<&str> {
    if target.len() > MAX_TARGET_BYTES {
        return None;
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let rest = path.strip_prefix('/')?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return None;
        }
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                let decoded = u8::try_from(high * 16 + low).ok()?;
                let ambiguous = decoded.is_ascii_alphanumeric()
                    || decoded < 0x20
                    || matches!(decoded, 0x7f | b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b';' | b'%');
                if ambiguous {
                    return None;
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':'
            | b'@' | b'/' => {}
            _ => return None,
        }
    }
    Some(path)
}

pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    if canonical_path(pattern) == Some(pattern) {
        Ok(())
    } else {
        Err(format!("`{pattern}` is not a canonical path; no request could ever match it"))
    }
}

#[cfg(test)]
mod tests {
    use super::canonical_path;

    #[test]
    fn one_spelling_per_path() {
        for (target, path) in [
            ("/", "/"),
            ("/api/outputs?limit=2&before=..//", "/api/outputs"),
            ("/assets/app.js", "/assets/app.js"),
            ("/download/", "/download/"),
            ("/a/%E4%BD%A0", "/a/%E4%BD%A0"),
        ] {
            assert_eq!(canonical_path(target), Some(path), "{target}");
        }
        for target in [
            "",
            "*",
            "api",
            "//",
            "//api",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/a/.",
            "/a%2fb",
            "/a%2Fb",
            "/%2e%2e/a",
            "/a%5cb",
            "/a\\b",
            "/a;b",
            "/a%3bb",
            "/a%00",
            "/a%0d%0aX",
            "/%61pi",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a#b",
            "/a b",
            "/ä",
            "http://x/api",
            "/a%25%32%66",
        ] {
            assert_eq!(canonical_path(target), None, "{target}");
        }
    }
}

//! What changes from one policy to another, in plain sentences.
//!
//! The two are compared as JSON, member by member, so nothing can change in silence: what
//! [`words`] has words for is said with them, everything else by its JSON pointer.

/// How each member is spoken of.
mod words;

use std::collections::{BTreeMap, BTreeSet};

use gate::policy::{Document, Issuer, Route};
use serde::Serialize;
use serde_json::Value;

use self::words::{DOCUMENT, ISSUER, ROLE, ROUTE, Words, moment, plain, shown};

/// Says what is different in `new`, one sentence for each change, in an order that depends on
/// nothing but the two policies. Of keys, only their ids are ever said.
pub fn sentences(old: &Document, new: &Document) -> Vec<String> {
    let mut say = Vec::new();
    issuers(&old.issuers, &new.issuers, &mut say);
    for (name, old, new) in pairs(&old.roles, &new.roles) {
        let name = plain(name);
        match (old, new) {
            (Some(old), Some(new)) => {
                let phrases = phrases(&json(old), &json(new), ROLE);
                say.extend(phrases.into_iter().map(|phrase| format!("{name}: {phrase}")));
            }
            (None, Some(new)) => {
                let rate = new.requests;
                say.push(format!("role {name} added (requests {} per minute, burst {})", rate.per_minute, rate.burst));
            }
            _ => say.push(format!("role {name} removed")),
        }
    }
    routes(&old.routes, &new.routes, &mut say);
    sites(old, new, &mut say);
    revocation(&json(&old.revocation), &json(&new.revocation), &mut say);
    let rest = |document| {
        except(json(document), &["/issuers", "/roles", "/routes", "/cors/origins", "/revocation", "/shadow"])
    };
    say.extend(phrases(&rest(old), &rest(new), DOCUMENT));
    match (&old.shadow, &new.shadow) {
        (None, Some(_)) => say.push("a second policy is now judged in the shadow".to_owned()),
        (Some(_), None) => say.push("no second policy is judged in the shadow any more".to_owned()),
        (Some(old), Some(new)) => {
            say.extend(sentences(old, new).into_iter().map(|sentence| format!("in the shadow: {sentence}")));
        }
        (None, None) => {}
    }
    say
}

fn issuers(old: &[Issuer], new: &[Issuer], say: &mut Vec<String>) {
    let by_name = |issuers: &[Issuer]| -> BTreeMap<String, Value> {
        issuers.iter().map(|issuer| (issuer.issuer.clone(), json(issuer))).collect()
    };
    let member = |issuer: &Value, name: &str| shown(issuer.get(name).unwrap_or(&Value::Null));
    for (name, old, new) in pairs(&by_name(old), &by_name(new)) {
        let name = plain(name);
        match (old, new) {
            (Some(old), Some(new)) => {
                let rest = |issuer: &Value| except(issuer.clone(), &["/keys/jwks"]);
                let mut changes = phrases(&rest(old), &rest(new), ISSUER);
                changes.extend(keys(old.pointer("/keys/jwks"), new.pointer("/keys/jwks")));
                say.extend(changes.into_iter().map(|phrase| format!("issuer {name}: {phrase}")));
            }
            (None, Some(new)) => {
                let (algorithms, audiences) = (member(new, "algorithms"), member(new, "audiences"));
                say.push(format!("issuer {name} added ({algorithms}, audience {audiences})"));
            }
            _ => say.push(format!("issuer {name} removed")),
        }
    }
}

/// What becomes of the keys that are written out. Their material is never said.
fn keys(old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let by_id = |jwks: Option<&Value>| {
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for key in jwks.and_then(|jwks| jwks.get("keys")).and_then(Value::as_array).into_iter().flatten() {
            let id = key.get("kid").and_then(Value::as_str);
            let name = id.map_or_else(|| "without an id".to_owned(), plain);
            found.entry(name).or_default().push(key.clone());
        }
        found
    };
    let said: Vec<String> = pairs(&by_id(old), &by_id(new))
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(id, old, new)| match (old, new) {
            (None, _) => format!("key {id} added"),
            (_, None) => format!("key {id} removed"),
            _ => format!("key {id} replaced"),
        })
        .collect();
    if said.is_empty() && old != new { vec!["the set of keys is written differently".to_owned()] } else { said }
}

/// What becomes of one method of a path: the text before its name and after it.
type Change = (String, String);

fn routes(old: &[Route], new: &[Route], say: &mut Vec<String>) {
    for (pattern, old, new) in pairs(&by_pattern(old), &by_pattern(new)) {
        let (none, mut said) = (BTreeMap::new(), Vec::<(Change, Vec<&str>)>::new());
        for (method, old, new) in pairs(old.unwrap_or(&none), new.unwrap_or(&none)) {
            for change in route(old, new) {
                // What is the same for several methods is said once.
                match said.iter_mut().find(|(other, _)| *other == change) {
                    Some((_, methods)) => methods.push(method),
                    None => said.push((change, vec![method])),
                }
            }
        }
        let pattern = plain(pattern);
        say.extend(said.into_iter().map(|((before, after), methods)| {
            let methods: Vec<String> = methods.into_iter().map(plain).collect();
            format!("{before}{} {pattern}{after}", methods.join(", "))
        }));
    }
}

/// The routes by pattern and method, as a request finds them. A prefix is written with an ellipsis,
/// which no path can have.
fn by_pattern(routes: &[Route]) -> BTreeMap<String, BTreeMap<String, Route>> {
    let mut found: BTreeMap<String, BTreeMap<String, Route>> = BTreeMap::new();
    for route in routes {
        let prefix = route.prefix.iter().map(|prefix| format!("{prefix}…"));
        let pattern: Vec<String> = route.path.iter().cloned().chain(prefix).collect();
        for method in &route.methods {
            found.entry(pattern.join(" ")).or_default().entry(method.clone()).or_insert_with(|| route.clone());
        }
    }
    found
}

fn route(old: Option<&Route>, new: Option<&Route>) -> Vec<Change> {
    let about = |text: String| ("route ".to_owned(), text);
    let callers = |route: &Route| if route.public { "everybody".to_owned() } else { shown(&json(&route.roles)) };
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => return vec![about(format!(" added for {}", callers(new)))],
        _ => return vec![about(" removed".to_owned())],
    };
    let mut changes = match (old.public, new.public) {
        (false, true) => vec![about(" now open to everybody".to_owned())],
        (true, false) => vec![about(format!(" no longer open to everybody, only to {}", callers(new)))],
        _ => comings_and_goings(&old.roles, &new.roles)
            .into_iter()
            .map(|(role, may)| (format!("{role}: {may} call "), String::new()))
            .collect(),
    };
    let rest = |route| except(json(route), &["/path", "/prefix", "/methods", "/public", "/roles"]);
    changes.extend(phrases(&rest(old), &rest(new), ROUTE).into_iter().map(|phrase| about(format!(": {phrase}"))));
    changes
}

fn sites(old: &Document, new: &Document, say: &mut Vec<String>) {
    let origins = |document: &Document| document.cors.iter().flat_map(|cors| cors.origins.clone()).collect::<Vec<_>>();
    for (origin, may) in comings_and_goings(&origins(old), &origins(new)) {
        say.push(format!("pages of {origin} {may} call"));
    }
}

/// Who stands in only one of two lists, and what that means.
fn comings_and_goings(old: &[String], new: &[String]) -> Vec<(String, &'static str)> {
    let all: BTreeSet<&String> = old.iter().chain(new).collect();
    all.into_iter()
        .filter(|name| old.contains(name) != new.contains(name))
        .map(|name| (plain(name), if new.contains(name) { "may now" } else { "may no longer" }))
        .collect()
}

fn revocation(old: &Value, new: &Value, say: &mut Vec<String>) {
    for Leaf { at, old, new } in leaves(old, new) {
        let (list, name) = at.trim_start_matches('/').split_once('/').unwrap_or((&at, ""));
        let whose = match list {
            "issuers" => "issuer",
            "users" => "user",
            "clients" => "client",
            "sessions" => "session",
            "tokens" => "token id",
            other => other,
        };
        let subject = format!("{whose} {}: tokens issued before", plain(name));
        say.push(match (old, new) {
            (old, Value::Null) => format!("{subject} {} are no longer refused", moment(&old)),
            (Value::Null, new) => format!("{subject} {} are refused", moment(&new)),
            (old, new) => format!("{subject} {} are refused, no longer {}", moment(&new), moment(&old)),
        });
    }
}

/// What changed in one thing, said without its name; what has words first and in their order.
fn phrases(old: &Value, new: &Value, words: &[(&str, Words)]) -> Vec<String> {
    let mut said: Vec<(usize, String)> = leaves(old, new)
        .into_iter()
        .filter_map(|Leaf { at, old, new }| {
            let place = words.iter().position(|(pointer, _)| *pointer == at).unwrap_or(words.len());
            let phrase = match words.get(place) {
                Some((_, words)) => words.phrase(&old, &new)?,
                None => Words::Value { label: &format!("{at}:"), unit: "", absent: "none" }.phrase(&old, &new)?,
            };
            Some((place, phrase))
        })
        .collect();
    said.sort_by_key(|(place, _)| *place);
    said.into_iter().map(|(_, phrase)| phrase).collect()
}

/// A member that is different, and where.
struct Leaf {
    at: String,
    old: Value,
    new: Value,
}

/// Every difference, by JSON pointer; what is absent is null.
fn leaves(old: &Value, new: &Value) -> Vec<Leaf> {
    let object = |value: &Value| value.is_object() || value.is_null();
    if old == new {
        return Vec::new();
    }
    if !object(old) || !object(new) {
        return vec![Leaf { at: String::new(), old: old.clone(), new: new.clone() }];
    }
    let names: BTreeSet<&String> =
        [old, new].into_iter().filter_map(Value::as_object).flat_map(|it| it.keys()).collect();
    let member = |value: &Value, name: &String| value.get(name).cloned().unwrap_or_default();
    let below = |name: &String| {
        let found = leaves(&member(old, name), &member(new, name));
        found.into_iter().map(|leaf| Leaf { at: format!("/{name}{}", leaf.at), ..leaf }).collect::<Vec<_>>()
    };
    names.into_iter().flat_map(below).collect()
}

/// What two maps have under each name.
fn pairs<'a, T>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> Vec<(&'a str, Option<&'a T>, Option<&'a T>)> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().map(|name| (name.as_str(), old.get(name), new.get(name))).collect()
}

/// A part of a policy, which is always JSON.
fn json(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// The same without what these pointers name, because it is spoken of elsewhere.
fn except(mut value: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(parent) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(name);
        }
    }
    value
}

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::*;
use crate::Gate;

/// A small policy for some other application, with nothing of cosygate's own.
fn sound() -> Value {
    let role = json!({
        "requests": {"per_minute": 60, "burst": 5}, "body_kb": 64, "in_flight": 2, "jobs_running": 2,
        "characters_per_request": 10, "characters_per_day": 10, "generations_per_day": 0, "storage_mb": 0,
        "retention_days": 1
    });
    json!({
        "issuers": [{
            "issuer": "https://idp.example", "audiences": ["app"], "algorithms": ["EdDSA"],
            "keys": {"jwks": {"keys": [cases::public_key("ed")]}}
        }],
        "roles": {"free": role, "owner": role},
        "routes": [
            {"prefix": "/", "methods": ["GET", "POST"], "roles": ["free", "owner"]},
            {"prefix": "/api/admin/", "methods": ["GET"], "roles": ["owner"]},
            {"path": "/health", "methods": ["GET"], "public": true}
        ],
        "registration": {"open": false, "role": "free"}
    })
}

fn verdict(policy: &Value) -> Result<(), PolicyError> {
    let document = Document::parse(policy.to_string().as_bytes()).unwrap();
    Gate::new(&document, &|_| None).map(drop)
}

/// What is said when the place that a JSON pointer names has this value instead. The last part of
/// the pointer may be new, or `-` to add to a list.
#[track_caller]
fn refused(pointer: &str, value: Value, at: &str, message: &str) {
    let mut policy = sound();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match policy.pointer_mut(parent).unwrap() {
        Value::Array(list) if member == "-" => list.push(value),
        Value::Array(list) => list[member.parse::<usize>().unwrap()] = value,
        parent => parent[member] = value,
    }
    let error = verdict(&policy).expect_err(pointer);
    assert_eq!(error.at, at, "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn a_policy_for_another_application_needs_nothing_of_ours() {
    assert_eq!(verdict(&sound()), Ok(()));
}

/// One subject of two issuers is one user only where the policy says so.
#[test]
fn issuers_share_users_only_by_name() {
    let add = |users_of: Option<&str>, prefix: Option<&str>| {
        let mut policy = sound();
        let mut second = policy["issuers"][0].clone();
        second["issuer"] = json!("second");
        second["users_of"] = json!(users_of);
        second["user_prefix"] = json!(prefix);
        policy["issuers"].as_array_mut().unwrap().push(second);
        policy
    };
    assert_eq!(verdict(&add(Some("https://idp.example"), None)), Ok(()));
    assert_eq!(verdict(&add(None, None)).unwrap_err().at, "/issuers/1/user_prefix");
    for (users_of, prefix) in
        [("https://other.example", None), ("second", None), ("https://idp.example", Some("second")), ("", None)]
    {
        let error = verdict(&add(Some(users_of), prefix)).unwrap_err();
        assert_eq!(error.at, "/issuers/1/users_of", "{users_of}: {error}");
    }
}

#[test]
fn accounts_have_a_prefix() {
    refused("/issuers/0/accounts", json!("first_use"), "/issuers/0/accounts", "needs a `user_prefix`");
    let mut policy = sound();
    policy["issuers"][0]["accounts"] = json!("first_use");
    policy["issuers"][0]["user_prefix"] = json!("idp");
    assert_eq!(verdict(&policy), Ok(()));
}

#[test]
fn every_role_that_is_named_exists() {
    refused("/routes/0/roles/1", json!("premum"), "/routes/0/roles/1", "there is no role `premum`");
    refused("/registration/role", json!("premum"), "/registration/role", "there is no role `premum`");
    let mapping = json!([{"from": "staff", "to": "premum"}]);
    refused("/issuers/0/roles", mapping, "/issuers/0/roles/0/to", "there is no role `premum`");
    refused("/roles", json!({}), "/roles", "there is no role");
}

#[test]
fn every_route_can_be_reached() {
    let twice = json!({"path": "/health", "methods": ["POST", "GET"], "public": true});
    refused("/routes/-", twice, "/routes/3", "an earlier route already has GET on this pattern");
    refused("/routes/0/methods", json!(["GET", "POST", "GET"]), "/routes/0/methods/2", "stands twice");
    let dots = json!({"path": "/a/../b", "methods": ["GET"], "public": true});
    refused("/routes/-", dots, "/routes/3", "no request could ever match it");
    refused("/routes/1/body_kb", json!(0), "/routes/1/body_kb", "must be at least 1");
    refused("/routes/1/fresh_login_s", json!(0), "/routes/1/fresh_login_s", "no login would be recent enough");

    // The most specific pattern decides, so none of these hides another.
    let mut policy = sound();
    for (kind, pattern) in [("path", "/api/admin/"), ("prefix", "/api/"), ("path", "/api/admin"), ("prefix", "/x/")] {
        let route = json!({kind: pattern, "methods": ["GET"], "roles": ["owner"]});
        policy["routes"].as_array_mut().unwrap().push(route);
    }
    assert_eq!(verdict(&policy), Ok(()));
}

#[test]
fn every_route_lets_somebody_in() {
    refused("/routes/1/roles", json!([]), "/routes/1", "give either `\"public\": true` or the `roles`");
    refused("/routes/1/public", json!(true), "/routes/1", "give either `\"public\": true` or the `roles`");
    let mapping = json!([{"from": "everybody", "to": "free"}]);
    refused("/issuers/0/roles", mapping, "/routes/1/roles", "no issuer gives any of these roles");
    refused("/routes/0/cost", json!(6), "/routes/0/cost", "is more than the burst of role `free`");
}

#[test]
fn what_is_reserved_is_never_routed() {
    let path = json!({"path": "/internal/edge/bundle", "methods": ["GET"], "roles": ["owner"]});
    refused("/routes/-", path, "/routes/3/path", "/internal/ is reserved");
    refused("/routes/1/prefix", json!("/internal/"), "/routes/1/prefix", "/internal/ is reserved");
}

#[test]
fn limits_agree_with_each_other() {
    let role = "/roles/free";
    let at = |member: &str| format!("{role}/{member}");
    for member in ["body_kb", "jobs_running", "in_flight", "characters_per_request", "retention_days"] {
        refused(&at(member), json!(0), &at(member), "must be at least 1");
    }
    refused(&at("jobs_running"), json!(3), &at("jobs_running"), "is more than in_flight");
    refused(&at("characters_per_day"), json!(9), &at("characters_per_request"), "is more than characters_per_day");
    refused(&at("requests/burst"), json!(0), &at("requests/burst"), "must be 1 to 100000");
}

#[test]
fn some_token_of_every_issuer_can_pass() {
    refused("/issuers", json!([]), "/issuers", "there is no issuer; nobody could log in");
    refused("/issuers/0/max_lifetime_s", json!(0), "/issuers/0/max_lifetime_s", "no token would pass");
    let mapping = json!([{"from": "staff", "to": "owner"}, {"from": "staff", "to": "free"}]);
    refused("/issuers/0/roles", mapping, "/issuers/0/roles/1/from", "an earlier line already says");
}

#[test]
fn a_shadow_is_held_to_the_same() {
    let mut shadow = sound();
    shadow["roles"]["free"]["jobs_running"] = json!(3);
    refused("/shadow", shadow, "/shadow/roles/free/jobs_running", "is more than in_flight");
}

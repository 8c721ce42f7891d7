use gate::policy::PolicyError;
use serde_json::{Value, json};

use crate::issuer::Issuer;
use crate::policy::{BUILT_IN, check};

fn verdict(change: impl FnOnce(&mut Value)) -> Result<(), PolicyError> {
    let mut policy: Value = serde_json::from_slice(BUILT_IN).unwrap();
    change(&mut policy);
    check(policy.to_string().as_bytes(), &Issuer::sample_keys()).map(drop)
}

/// What is said of the shipped policy after a change.
#[track_caller]
fn refused(change: impl FnOnce(&mut Value), at: &str, message: &str) {
    let error = verdict(change).unwrap_err();
    assert_eq!(error.at, at, "{error}");
    assert!(error.message.contains(message), "{error}");
}

fn add(route: Value) -> impl Fn(&mut Value) {
    move |policy| policy["routes"].as_array_mut().unwrap().push(route.clone())
}

/// The place of a path among the shipped routes.
fn place(path: &str) -> usize {
    let policy: Value = serde_json::from_slice(BUILT_IN).unwrap();
    policy["routes"].as_array().unwrap().iter().position(|route| route["path"] == path).unwrap()
}

/// The place of a route that is added.
fn next() -> usize {
    let policy: Value = serde_json::from_slice(BUILT_IN).unwrap();
    policy["routes"].as_array().unwrap().len()
}

#[test]
fn the_shipped_policy_is_sound() {
    assert_eq!(verdict(|_| {}), Ok(()));
    refused(|policy| policy["colour"] = json!("red"), "", "unknown field `colour`");
}

#[test]
fn whoever_needs_a_second_factor_can_set_it_up() {
    let demanded = |policy: &mut Value| policy["roles"]["admin"]["second_factor"] = json!(true);
    let at = "/roles/admin/second_factor";
    assert_eq!(verdict(demanded), Ok(()));
    let alone = |policy: &mut Value| {
        demanded(policy);
        policy["roles"].as_object_mut().unwrap().remove("enrol");
        for route in policy["routes"].as_array_mut().unwrap() {
            if let Some(roles) = route.get_mut("roles") {
                roles.as_array_mut().unwrap().retain(|role| role != "enrol");
            }
        }
    };
    refused(alone, at, "gets the role `enrol`; add it");
    for path in ["/api/me/totp", "/api/me/totp/confirm"] {
        let shut = |policy: &mut Value| {
            demanded(policy);
            policy["routes"][place(path)]["roles"] = json!(["free", "premium", "admin"]);
        };
        refused(shut, at, &format!("call POST {path}"));
    }
    let both = |policy: &mut Value| {
        demanded(policy);
        policy["roles"]["enrol"]["second_factor"] = json!(true);
    };
    refused(both, "/roles/enrol/second_factor", "role of those who have none yet");
}

#[test]
fn personal_tokens_have_an_issuer_of_their_own() {
    let types = |index: usize, types: Value| move |policy: &mut Value| policy["issuers"][index]["types"] = types;
    refused(types(0, json!(["at+jwt", "PAT+jwt"])), "/issuers/0/types", "have an issuer of their own");
    refused(types(1, json!(["pat+jwt", "at+jwt"])), "/issuers/1/types", "nothing else may");
    refused(|policy| drop(policy["issuers"].as_array_mut().unwrap().remove(0)), "/issuers/0/users_of", "");
    let stranger = |policy: &mut Value| {
        policy["issuers"][0]["keys"] = json!({"jwks": Issuer::sample_keys().logins});
    };
    refused(stranger, "/issuers/1/users_of", "for accounts of this server");
    let twice = |policy: &mut Value| {
        let mut issuer = policy["issuers"][1].clone();
        issuer["issuer"] = json!("second");
        policy["issuers"].as_array_mut().unwrap().push(issuer);
    };
    refused(twice, "/issuers/2/keys/from", "another issuer has these keys");
    assert_eq!(verdict(|policy| policy["issuers"].as_array_mut().unwrap().truncate(1)), Ok(()));
}

#[test]
fn refreshing_needs_no_token() {
    let place = place("/refresh");
    let closed = move |policy: &mut Value| {
        policy["routes"][place] = json!({"path": "/refresh", "methods": ["POST"], "roles": ["free"]})
    };
    refused(closed, &format!("/routes/{place}"), "make POST /refresh public");
    // Without such a route every login ends with its first token, which is a choice.
    assert_eq!(verdict(|policy| drop(policy["routes"].as_array_mut().unwrap().remove(place))), Ok(()));
}

#[test]
fn the_origins_own_issuer_is_one_and_has_no_prefix() {
    let prefix = |policy: &mut Value| {
        policy["issuers"].as_array_mut().unwrap().truncate(1);
        policy["issuers"][0]["user_prefix"] = json!("own");
    };
    refused(prefix, "/issuers/0/user_prefix", "the origin's own issuer has no prefix");
    let second = |policy: &mut Value| {
        let mut issuer = policy["issuers"][0].clone();
        issuer["issuer"] = json!("second");
        issuer["user_prefix"] = json!("second");
        policy["issuers"].as_array_mut().unwrap().push(issuer);
    };
    refused(second, "/issuers/2/user_prefix", "the origin's own issuer has no prefix");
    let twin = |policy: &mut Value| {
        let mut issuer = policy["issuers"][0].clone();
        issuer["issuer"] = json!("second");
        policy["issuers"].as_array_mut().unwrap().push(issuer);
    };
    refused(twin, "/issuers/2/user_prefix", "another issuer has the same one");
}

#[test]
fn whoever_has_an_account_can_log_in() {
    let login = place("/login");
    let remove = |policy: &mut Value| drop(policy["routes"].as_array_mut().unwrap().remove(login));
    refused(remove, "/routes", "nobody could get a token of `cosygate`; add {\"path\": \"/login\"");
    let get = |policy: &mut Value| policy["routes"][login]["methods"] = json!(["GET"]);
    refused(get, "/routes", "nobody could get a token of `cosygate`");
    let close = |policy: &mut Value| {
        policy["routes"][login] = json!({"path": "/login", "methods": ["POST"], "roles": ["free"]})
    };
    refused(close, &format!("/routes/{login}"), "make POST /login public");
    let types = |policy: &mut Value| policy["issuers"][0]["types"] = json!(["JWT"]);
    refused(types, "/issuers/0/types", "the tokens of this server say `at+jwt`");
}

#[test]
fn only_admins_reach_what_is_theirs() {
    let shipped = place("/api/admin/policy");
    let shared = |policy: &mut Value| policy["routes"][shipped]["roles"] = json!(["admin", "premium"]);
    refused(shared, &format!("/routes/{shipped}/roles/1"), "would open /api/admin/ to more than the role `admin`");
    let open = json!({"prefix": "/api/admin/", "methods": ["GET"], "public": true});
    refused(add(open), &format!("/routes/{}", next()), "would open /api/admin/ to everybody");

    // What a wide prefix leads to counts, unless a longer one is there to decide.
    let wide = json!({"prefix": "/api/", "methods": ["GET"], "roles": ["free", "admin"]});
    refused(add(wide.clone()), &format!("/routes/{}/roles/0", next()), "would open /api/admin/");
    let guarded = |policy: &mut Value| {
        add(wide.clone())(policy);
        add(json!({"prefix": "/api/admin/", "methods": ["GET"], "roles": ["admin"]}))(policy);
    };
    assert_eq!(verdict(guarded), Ok(()));
    // No way to the policy by HTTP is a choice: the file remains.
    assert_eq!(verdict(|policy| drop(policy["routes"].as_array_mut().unwrap().remove(shipped))), Ok(()));

    refused(|policy| policy["registration"]["role"] = json!("admin"), "/registration/role", "would be an admin");
    assert_eq!(verdict(|policy| policy["registration"] = json!({"open": false, "role": "admin"})), Ok(()));
}

#[test]
fn nothing_leads_to_what_is_reserved() {
    let everything = json!({"prefix": "/", "methods": ["GET"], "roles": ["free"]});
    refused(add(everything), &format!("/routes/{}/prefix", next()), "would lead to /internal/");
    let path = json!({"path": "/internal/x", "methods": ["GET"], "roles": ["admin"]});
    refused(add(path), &format!("/routes/{}/path", next()), "/internal/ is reserved");
}

#[test]
fn a_scope_that_our_tokens_lack_is_refused_while_there_are_no_others() {
    let route = json!({"path": "/x", "methods": ["GET"], "roles": ["free"], "scopes": ["speech", "video"]});
    refused(add(route.clone()), &format!("/routes/{}/scopes/1", next()), "have only `speech`");
    let with_another = |policy: &mut Value| {
        add(route.clone())(policy);
        policy["issuers"].as_array_mut().unwrap().push(json!({
            "issuer": "https://idp.example", "audiences": ["a"], "algorithms": ["EdDSA"], "user_prefix": "idp",
            "keys": {"jwks": {"keys": [cases::public_key("ed")]}}
        }));
    };
    assert_eq!(verdict(with_another), Ok(()));
}

#[test]
fn a_shadow_is_held_to_the_same() {
    let shadow = |policy: &mut Value| {
        let mut shadow = policy.clone();
        shadow["registration"]["role"] = json!("admin");
        policy["shadow"] = shadow;
    };
    refused(shadow, "/shadow/registration/role", "would be an admin");
}

#[test]
fn a_policy_for_another_application_needs_nothing_of_ours() {
    let foreign = |policy: &mut Value| {
        policy["issuers"].as_array_mut().unwrap().truncate(1);
        policy["issuers"][0]["keys"] = json!({"jwks": {"keys": [cases::public_key("ed")]}});
        policy["issuers"][0]["user_prefix"] = json!("idp");
        policy["registration"] = json!({"open": true, "role": "admin"});
        policy["routes"] = json!([
            {"prefix": "/", "methods": ["GET", "POST"], "roles": ["free"], "scopes": ["anything"]},
            {"prefix": "/api/admin/", "methods": ["GET"], "roles": ["premium"]},
        ]);
    };
    assert_eq!(verdict(foreign), Ok(()));
}

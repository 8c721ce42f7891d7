use serde_json::json;

use super::*;

/// What nobody should ever see, even though it is public.
const MATERIAL: [&str; 2] = ["11qYAycpkeyKeyKey", "x5tAnotherKeyKeyKey"];

/// A document that has every member there is, the optional ones, too.
fn full() -> Value {
    let whole = json!({
        "$schema": "./policy.schema.json",
        "rev": 7,
        "issuers": [
            {
                "issuer": "https://idp.example", "audiences": ["cosygate"], "algorithms": ["EdDSA"],
                "keys": {
                    "jwks": {"keys": [
                        {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": MATERIAL[0]},
                        {"kty": "OKP", "crv": "Ed25519", "x": MATERIAL[1]}
                    ]},
                    "jwks_path": "/keys", "cluster": "idp", "authority": "idp.example", "refresh_s": 60,
                    "max_stale_s": 600, "secret_env": "NAME", "from": "origin"
                },
                "claims": {"subject": "sub", "role": "groups", "scopes": "scp"},
                "roles": [{"from": "staff", "to": "premium"}, {"from": "all", "to": "free"}],
                "required": ["jti"], "user_prefix": "idp", "users_of": "cosygate",
                "accounts": "first_use", "clock_skew_s": 5, "max_lifetime_s": 600,
                "types": ["JWT"], "requests": {"per_minute": 6000, "burst": 100}
            },
            {"issuer": "cosygate", "audiences": ["a", "b"], "algorithms": ["ES256", "EdDSA"], "keys": {"from": "origin"}}
        ],
        "roles": {
            "free": {
                "requests": {"per_minute": 30, "burst": 10}, "body_kb": 256, "in_flight": 8, "jobs_running": 1,
                "jobs_queued": 5, "weight": 1, "characters_per_request": 500, "characters_per_day": 5000,
                "generations_per_day": 50, "audio_seconds_per_day": 600, "storage_mb": 200, "retention_days": 7,
                "voices": 2, "second_factor": true, "share_links": 5
            },
            "premium": {
                "requests": {"per_minute": 60, "burst": 20}, "body_kb": 256, "jobs_running": 1,
                "characters_per_request": 500, "characters_per_day": 5000, "generations_per_day": 50,
                "storage_mb": 200, "retention_days": 7, "voices": 2, "share_links": 5
            }
        },
        "routes": [
            {"path": "/", "methods": ["GET"], "public": true},
            {
                "path": "/api/generate", "methods": ["POST"], "roles": ["free"], "scopes": ["speech"], "cost": 2,
                "limit": {"by": "user", "per_minute": 10, "burst": 2}, "fresh_login_s": 900, "body_kb": 2048,
                "metered": true
            },
            {"path": "/api/live", "methods": ["GET"], "roles": ["free", "premium"], "websocket": true},
            {"prefix": "/api/outputs/", "methods": ["GET", "DELETE"], "roles": ["free", "premium"]}
        ],
        "limits": {
            "edge": {"per_minute": 60000, "burst": 1000}, "bad_tokens": {"per_minute": 120, "burst": 20},
            "public_body_kb": 32, "announce": false, "trusted_hops": 1
        },
        "cors": {"origins": ["https://app.example"], "max_age_s": 60},
        "registration": {"open": true, "invitations": true, "role": "free"},
        "identity": {"lifetime_s": 20, "sealed": false},
        "revocation": {
            "issuers": {"https://idp.example": 1_700_000_000}, "users": {"u-1": 1_700_000_001},
            "clients": {"c-1": 1_700_000_004}, "sessions": {"s-1": 1_700_000_002}, "tokens": {"t-1": 1_700_000_003}
        },
        "failure": {"limits": "allow", "policy": "allow", "revocation": "allow"},
        "distribution": {"lifetime_s": 600},
        "keys": {"rotate_days": 30}
    });
    let mut document = whole.clone();
    document["shadow"] = whole;
    document
}

fn read(value: &Value) -> Option<Document> {
    serde_json::from_value(value.clone()).ok()
}

/// What is said when one place of the full document becomes something else; null removes it.
fn said(pointer: &str, value: Value) -> Vec<String> {
    let mut changed = full();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = changed.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) if name == "-" => list.push(value),
        Value::Array(list) if value.is_null() => drop(list.remove(name.parse().unwrap())),
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(name)),
        parent => parent[name] = value,
    }
    sentences(&read(&full()).unwrap(), &read(&changed).unwrap())
}

#[test]
fn an_unchanged_policy_says_nothing() {
    let full = read(&full()).unwrap();
    assert_eq!(sentences(&full, &full), Vec::<String>::new());
    let built_in = Document::parse(crate::policy::BUILT_IN).unwrap();
    assert_eq!(sentences(&built_in, &built_in), Vec::<String>::new());

    // Neither does another order of what has none, nor a default that is written out.
    let mut same = json(&full);
    same["issuers"].as_array_mut().unwrap().reverse();
    same["routes"].as_array_mut().unwrap().reverse();
    same["routes"][0]["methods"] = json!(["DELETE", "GET"]);
    same["routes"][0]["cost"] = json!(1);
    assert_eq!(sentences(&full, &read(&same).unwrap()), Vec::<String>::new());
}

/// Every member that a pointer can name, with the containers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut visit = |name: &str, member: &Value| {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        places(member, &at, found);
        found.push(at);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| visit(name, member)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, member)| visit(&index.to_string(), member)),
        _ => {}
    }
}

/// Other values for a place; whichever of them the document can have there is tried.
fn others(value: &Value) -> Vec<Value> {
    let mut others = vec![Value::Null];
    match value {
        Value::Bool(value) => others.push(json!(!value)),
        Value::Number(number) => others.push(json!(number.as_u64().unwrap() + 1)),
        Value::String(text) => {
            others.push(json!(format!("{text}x")));
            others.extend(["RS256", "address", "deny", "none"].map(Value::from));
        }
        _ => {}
    }
    others
}

#[test]
fn nothing_changes_in_silence() {
    let (full, mut all) = (full(), Vec::new());
    let before = read(&full).unwrap();
    places(&full, "", &mut all);
    let mut count = 0;
    for at in &all {
        let mut spoken_of = false;
        for other in others(full.pointer(at).unwrap()) {
            let mut changed = full.clone();
            *changed.pointer_mut(at).unwrap() = other.clone();
            let Some(after) = read(&changed).filter(|after| *after != before) else { continue };
            for (old, new) in [(&before, &after), (&after, &before)] {
                let said = sentences(old, new);
                assert!(!said.is_empty(), "{at} → {other}: nothing is said");
                assert!(said.iter().all(|text| MATERIAL.iter().all(|secret| !text.contains(secret))), "{said:?}");
            }
            spoken_of = true;
            count += 1;
        }
        let is_container = full.pointer(at).unwrap().is_object() || full.pointer(at).unwrap().is_array();
        assert!(spoken_of || is_container, "{at}: there is nothing else to put here");
    }
    println!("{count} changes, each told");
    assert!(count > 200);
}

/// Every member that the schema knows stands somewhere in the full document; else the test above
/// would not know of it.
fn covers(schema: &Value, root: &Value, here: &[&Value], at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        // The shadow holds no third policy.
        if name != "#" && at != "/shadow/shadow" {
            covers(root.pointer(name.trim_start_matches('#')).unwrap(), root, here, at);
        } else if at == "/shadow" {
            covers(root, root, here, at);
        }
    }
    for one in ["anyOf", "oneOf", "allOf"].iter().filter_map(|kind| schema[*kind].as_array()).flatten() {
        covers(one, root, here, at);
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let below: Vec<&Value> = here.iter().filter_map(|value| value.get(name)).collect();
        let at = format!("{at}/{name}");
        assert!(!below.is_empty() || at == "/shadow/shadow", "the full document lacks {at}");
        covers(member, root, &below, &at);
    }
    let below: Vec<&Value> = here.iter().filter_map(|value| value.as_array()).flatten().collect();
    covers_if_object(&schema["items"], root, &below, &format!("{at}/-"));
    let below: Vec<&Value> = here.iter().filter_map(|value| value.as_object()).flat_map(|it| it.values()).collect();
    covers_if_object(&schema["additionalProperties"], root, &below, &format!("{at}/*"));
}

fn covers_if_object(schema: &Value, root: &Value, here: &[&Value], at: &str) {
    if schema.is_object() {
        assert!(!here.is_empty(), "the full document has nothing at {at}");
        covers(schema, root, here, at);
    }
}

#[test]
fn the_full_document_is_full() {
    let schema = json(&schemars::schema_for!(Document));
    covers(&schema, &schema, &[&full()], "");
}

#[test]
fn roles_and_their_limits() {
    assert_eq!(said("/roles/free/requests/per_minute", json!(20)), ["free: requests 30 → 20 per minute"]);
    assert_eq!(said("/roles/free/requests/burst", json!(5)), ["free: burst 10 → 5"]);
    assert_eq!(said("/roles/free/in_flight", Value::Null), ["free: requests at the same time 8 → no bound"]);
    assert_eq!(said("/roles/free/storage_mb", json!(100)), ["free: storage 200 → 100 MiB"]);
    assert_eq!(said("/roles/free/weight", json!(2)), ["free: share of the engine 1 → 2"]);
    assert_eq!(said("/roles/free/audio_seconds_per_day", Value::Null), ["free: audio 600 seconds per day → no bound"]);
    assert_eq!(
        said("/roles/gold", full()["roles"]["free"].clone()),
        ["role gold added (requests 30 per minute, burst 10)"]
    );
    assert_eq!(said("/roles/premium", Value::Null), ["role premium removed"]);
}

#[test]
fn routes_and_who_may_call_them() {
    let generate = |member: &str, value| said(&format!("/routes/1/{member}"), value);
    assert_eq!(generate("roles", json!(["premium", "free"])), ["premium: may now call POST /api/generate"]);
    assert_eq!(
        generate("roles", json!(["premium"])),
        ["free: may no longer call POST /api/generate", "premium: may now call POST /api/generate"]
    );
    assert_eq!(generate("public", json!(true)), ["route POST /api/generate now open to everybody"]);
    assert_eq!(generate("scopes", Value::Null), ["route POST /api/generate: scopes speech → none"]);
    assert_eq!(generate("limit/per_minute", json!(20)), ["route POST /api/generate: limit 10 → 20 per minute"]);
    assert_eq!(
        generate("limit", Value::Null),
        [
            "route POST /api/generate: limit 10 per minute → no limit",
            "route POST /api/generate: burst 2 → no limit",
            "route POST /api/generate: calls counted by user → no limit"
        ]
    );
    assert_eq!(generate("body_kb", Value::Null), ["route POST /api/generate: request body 2048 KiB → as elsewhere"]);
    assert_eq!(
        generate("metered", json!(false)),
        ["route POST /api/generate: calls are not charged to the day's quota"]
    );
    assert_eq!(
        said("/routes/0", json!({"path": "/", "methods": ["GET"], "roles": ["free"]})),
        ["route GET / no longer open to everybody, only to free"]
    );
    let added = json!({"path": "/api/x", "methods": ["GET"], "roles": ["free", "premium"]});
    assert_eq!(said("/routes/-", added), ["route GET /api/x added for free, premium"]);
    assert_eq!(said("/routes/1", Value::Null), ["route POST /api/generate removed"]);

    // Methods of one path are told together where the same becomes of them, and a prefix is not
    // taken for a path.
    let outputs = |member: &str, value| said(&format!("/routes/3/{member}"), value);
    assert_eq!(outputs("roles", json!(["premium"])), ["free: may no longer call DELETE, GET /api/outputs/…"]);
    assert_eq!(outputs("methods", json!(["GET"])), ["route DELETE /api/outputs/… removed"]);
    assert_eq!(
        said("/routes/-", json!({"path": "/api/outputs/", "methods": ["GET"], "public": true})),
        ["route GET /api/outputs/ added for everybody"]
    );
}

#[test]
fn issuers_and_their_keys() {
    let idp = |member: &str, value| said(&format!("/issuers/0/{member}"), value);
    let issuer = json!({
        "issuer": "https://new.example", "audiences": ["cosygate"], "algorithms": ["EdDSA"], "keys": {"from": "origin"}
    });
    assert_eq!(said("/issuers/-", issuer), ["issuer https://new.example added (EdDSA, audience cosygate)"]);
    assert_eq!(said("/issuers/0", Value::Null), ["issuer https://idp.example removed"]);
    assert_eq!(idp("algorithms/-", json!("RS256")), ["issuer https://idp.example: algorithms EdDSA → EdDSA, RS256"]);
    assert_eq!(
        idp("roles/1", Value::Null),
        ["issuer https://idp.example: roles staff is premium, all is free → staff is premium"]
    );
    let key = |id: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": MATERIAL[1]});
    assert_eq!(idp("keys/jwks/keys/-", key("k2")), ["issuer https://idp.example: key k2 added"]);
    assert_eq!(idp("keys/jwks/keys/0", key("k1")), ["issuer https://idp.example: key k1 replaced"]);
    assert_eq!(idp("keys/jwks/keys/0", Value::Null), ["issuer https://idp.example: key k1 removed"]);
    assert_eq!(idp("keys/jwks/keys/1", Value::Null), ["issuer https://idp.example: key without an id removed"]);
    assert_eq!(idp("keys/jwks/note", json!(1)), ["issuer https://idp.example: the set of keys is written differently"]);
    assert_eq!(idp("users_of", json!("other")), ["issuer https://idp.example: users cosygate → other"]);
    assert_eq!(idp("accounts", json!("none")), ["issuer https://idp.example: accounts of its users first_use → none"]);
    assert_eq!(
        idp("requests/per_minute", json!(60)),
        ["issuer https://idp.example: requests of all users together 6000 → 60 per minute"]
    );
}

#[test]
fn everything_else() {
    assert_eq!(
        said("/revocation/users/u-2", json!(1_795_428_000)),
        ["user u-2: tokens issued before 2026-11-23T10:00:00Z are refused"]
    );
    assert_eq!(
        said("/revocation/users/u-1", json!(1_795_428_000)),
        ["user u-1: tokens issued before 2026-11-23T10:00:00Z are refused, no longer 2023-11-14T22:13:21Z"]
    );
    assert_eq!(
        said("/revocation/issuers", Value::Null),
        ["issuer https://idp.example: tokens issued before 2023-11-14T22:13:20Z are no longer refused"]
    );
    assert_eq!(
        said("/revocation/tokens/t-2", json!(u64::MAX)),
        ["token id t-2: tokens issued before second 18446744073709551615 are refused"]
    );
    assert_eq!(said("/registration/open", json!(false)), ["registration closed"]);
    assert_eq!(said("/registration/invitations", json!(false)), ["registration by invitation closed"]);
    assert_eq!(said("/registration/role", json!("premium")), ["role of a new account free → premium"]);
    assert_eq!(said("/identity/sealed", json!(true)), ["the header of the caller is sealed"]);
    assert_eq!(said("/rev", json!(8)), ["revision 7 → 8"]);
    assert_eq!(said("/limits/trusted_hops", json!(0)), ["/limits/trusted_hops: 1 → 0"]);
    assert_eq!(
        said("/limits/edge", Value::Null),
        ["/limits/edge/burst: 1000 → none", "/limits/edge/per_minute: 60000 → none"]
    );
    assert_eq!(
        said("/cors/origins", json!(["https://other.example"])),
        ["pages of https://app.example may no longer call", "pages of https://other.example may now call"]
    );
    assert_eq!(said("/shadow/roles/free/requests/burst", json!(5)), ["in the shadow: free: burst 10 → 5"]);
    assert_eq!(said("/shadow", Value::Null), ["no second policy is judged in the shadow any more"]);
}

/// A name cannot pass for something else on the reader's screen.
#[test]
fn what_cannot_be_seen_is_quoted() {
    let odd = "a\u{1b}[2K\nrole admin removed\u{202e}";
    assert_eq!(
        said("/routes/1/scopes/0", json!(odd)),
        [r#"route POST /api/generate: scopes speech → "a\u{1b}[2K\nrole admin removed\u{202e}""#]
    );
    assert_eq!(
        said("/issuers/0/user_prefix", json!("")),
        [r#"issuer https://idp.example: prefix of its users idp → """#]
    );
}

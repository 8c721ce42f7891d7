//! What a provider says of somebody, as far as it matters here.

use serde_json::{Map, Value};

use super::settings::RoleSettings;

/// The claim of this name, or, if there is none, the one at this path with dots between.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Which of our roles somebody with these claims has; none if they have none here.
pub(super) fn role(claims: &Map<String, Value>, settings: &RoleSettings) -> Option<String> {
    let states = |role: &str| match find(claims, &settings.claim) {
        Some(Value::String(text)) => text == role || text.split(' ').any(|word| word == role),
        Some(Value::Array(list)) => list.iter().any(|item| item.as_str() == Some(role)),
        _ => false,
    };
    let mapped = settings.mapping.iter().find(|mapping| states(&mapping.from)).map(|mapping| mapping.to.clone());
    mapped.or_else(|| settings.default.clone())
}

#[cfg(test)]
mod tests {
    use gate::policy::RoleMapping;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_role_of_the_mapping_counts() {
        let mapping = [("boss", "admin"), ("paid speech", "premium"), ("paid", "premium")];
        let mapping = mapping.map(|(from, to)| RoleMapping { from: from.to_owned(), to: to.to_owned() });
        let settings = RoleSettings {
            claim: "realm.roles".to_owned(),
            mapping: mapping.to_vec(),
            default: Some("free".to_owned()),
        };
        for (claims, expected) in [
            (json!({"realm": {"roles": ["paid", "boss"]}}), "admin"),
            (json!({"realm.roles": "paid", "realm": {"roles": ["boss"]}}), "premium"),
            (json!({"realm": {"roles": ["paid speech"]}}), "premium"),
            (json!({"realm": {"roles": "other boss"}}), "admin"),
            (json!({"realm": {"roles": ["bos", "Boss", 1, null]}}), "free"),
            (json!({"realm": {"roles": {"boss": true}}}), "free"),
            (json!({"realm": "boss"}), "free"),
            (json!({}), "free"),
        ] {
            assert_eq!(role(claims.as_object().unwrap(), &settings).as_deref(), Some(expected), "{claims}");
        }
        assert_eq!(role(&Map::new(), &RoleSettings { default: None, ..settings }), None);
    }
}

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::routes::DESCRIPTION;

/// A file of the repository as it is now, so that changing it compiles nothing anew.
fn shipped(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn operations() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), path.as_str(), operation))
    })
}

#[test]
fn the_committed_description_is_fresh() {
    let committed = shipped("../docs/openapi.json");
    let fresh = serde_json::to_string_pretty(&*DESCRIPTION).unwrap() + "\n";
    assert!(committed == fresh, "run: cosygate openapi > docs/openapi.json");
}

#[test]
fn the_manual_has_every_operation_and_no_other() {
    let manual = shipped("../docs/API.md");
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let mut told = BTreeSet::new();
    for heading in manual.lines().filter_map(|line| line.strip_prefix("### ")) {
        let words: Vec<&str> = heading.split([' ', '(', ')']).collect();
        for pair in words.windows(2).filter(|pair| methods.contains(&pair[0]) && pair[1].starts_with('/')) {
            let path = pair[1].split('?').next().unwrap();
            told.insert(format!("{} {path}", pair[0]));
        }
    }
    // Those are for edges; no policy can route them to anybody else.
    told.retain(|operation| !operation.contains(" /internal/"));
    let described: BTreeSet<String> = operations().map(|(operation, ..)| operation).collect();
    assert_eq!(told.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "only in API.md");
    assert_eq!(described.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "only in the description");
}

#[test]
fn every_operation_says_what_it_is_and_answers() {
    let (mut ids, mut summaries) = (BTreeSet::new(), BTreeSet::new());
    for (name, path, operation) in operations() {
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{name}: {summary}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        summaries.insert(summary);
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status < &"400".to_owned()), "{name} never succeeds");
        let placeholders = path.matches('{').count();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        assert_eq!(parameters.filter(|parameter| parameter["in"] == "path").count(), placeholders, "{name}");
    }
    assert!(ids.len() > 60, "{}", ids.len());
}

#[test]
fn whoever_needs_a_token_is_told_so() {
    let personal = |wanted: &str| {
        let (_, _, operation) = operations().find(|(name, ..)| name == wanted).unwrap();
        (operation["security"] != serde_json::json!([]), operation["responses"].get("401").is_some())
    };
    assert_eq!(personal("GET /api/me"), (true, true));
    assert_eq!(personal("POST /api/generate"), (true, true));
    assert_eq!(personal("GET /.well-known/jwks.json"), (false, false));
    assert_eq!(personal("POST /login"), (false, true));
}

/// Two types of one name would be told apart by a number, which nobody could read.
#[test]
fn every_schema_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
    let schemas = DESCRIPTION["components"]["schemas"].as_object().unwrap();
    let numbered: Vec<&String> =
        schemas.keys().filter(|name| name.ends_with(|letter: char| letter.is_ascii_digit())).collect();
    assert!(numbered.is_empty(), "{numbered:?}");
    let text = DESCRIPTION.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(schemas.contains_key(name), "{reference}");
    }
}

/// Only what edges ask for is served without being described.
#[test]
fn no_route_goes_around_the_description() {
    let source = shipped("src/routes.rs");
    let (_, router) = source.split_once("pub fn router(").unwrap();
    let around: Vec<&str> = router.lines().filter(|line| line.contains(".route(") || line.contains("nest")).collect();
    assert_eq!(around.len(), 2, "{around:?}");
    assert!(around.iter().all(|line| line.contains("\"/internal/edge/")), "{around:?}");
    assert!(!DESCRIPTION.to_string().contains("/internal/"));
}

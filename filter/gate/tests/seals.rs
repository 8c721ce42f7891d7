//! The shared vectors of the sealed identity, natively and in node. The origin opens the same ones.

use gate::identity::{KeyRing, Sealed};
use serde_json::Value;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test(unsupported = test)]
fn every_vector_is_sealed_and_opened_as_it_says() {
    let (mut sealed, mut opened, mut refused) = (0, 0, 0);
    for vector in cases::seals() {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        if let Some(ring) = vector["seals"].as_str() {
            let claims: Sealed<'_> = serde_json::from_value(vector["claims"].clone()).unwrap();
            let token = KeyRing::parse(ring).unwrap().seal(&claims).unwrap();
            assert_eq!(token, text("token"), "{}", vector["name"]);
            sealed += 1;
        }
        let now = vector["now"].as_u64().unwrap();
        let ring = KeyRing::parse(text("opens")).unwrap();
        match (ring.open(text("token"), text("method"), text("target"), now), &vector["error"]) {
            (Ok(claims), Value::Null) => {
                assert_eq!(serde_json::to_value(claims).unwrap(), vector["claims"], "{}", vector["name"]);
                opened += 1;
            }
            (Err(error), Value::String(wanted)) => {
                assert_eq!(error.0, wanted, "{}", vector["name"]);
                refused += 1;
            }
            (outcome, wanted) => panic!("{}: {outcome:?} instead of {wanted}", vector["name"]),
        }
    }
    println!("{sealed} sealed bit for bit, {opened} opened, {refused} refused");
    assert!(sealed >= 16 && opened >= 6 && refused >= 17, "{sealed} {opened} {refused}");
}

//! `GET /.well-known/oauth-authorization-server`: what this issuer of tokens can do (RFC 8414).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::issuer::SCOPE;
use crate::openapi::{About, Section};
use crate::problem::Refusal;

/// RFC 8414, section 2.
#[derive(Serialize, JsonSchema)]
pub(super) struct Metadata {
    issuer: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 0],
}

pub(super) const GET: About =
    About::new(Section::Accounts, "What this issuer of tokens can do").refuses(&[Code::NotFound]);

/// There are no authorization and no token endpoint: tokens come from `POST /login`, which is no
/// grant of OAuth. So nothing is supported, and that is said. `404` where the policy has no issuer
/// with the keys of this server.
pub(super) async fn handler(State(app): State<Arc<App>>) -> Result<Json<Metadata>, Refusal> {
    let policy = app.policy.now();
    let issuer = policy.own_issuer().ok_or_else(Refusal::not_found)?;
    Ok(Json(Metadata {
        issuer: issuer.issuer.clone(),
        jwks_uri: format!("{}.well-known/jwks.json", app.settings.public_url),
        scopes_supported: SCOPE.split(' ').collect(),
        response_types_supported: [],
        grant_types_supported: [],
        token_endpoint_auth_methods_supported: [],
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::test_app::TestApp;

    #[tokio::test]
    async fn it_says_what_there_is() {
        let app = TestApp::new().await;
        let reply = app.send(app.request("GET", "/.well-known/oauth-authorization-server", None, None)).await;
        let metadata = reply.json();
        assert_eq!(
            (&metadata["issuer"], &metadata["jwks_uri"]),
            (&json!("cosygate"), &json!("http://localhost:10000/.well-known/jwks.json"))
        );
        assert_eq!((&metadata["grant_types_supported"], metadata.get("token_endpoint")), (&json!([]), None));

        let without = TestApp::with_policy(|policy| {
            policy["issuers"][0]["keys"] = json!({"jwks": crate::issuer::Issuer::sample_keys().logins});
            policy["issuers"].as_array_mut().unwrap().truncate(1);
        })
        .await;
        let reply = without.send(without.request("GET", "/.well-known/oauth-authorization-server", None, None)).await;
        assert_eq!(reply.code(), "not_found");
    }
}

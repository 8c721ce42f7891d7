//! `GET /internal/edge/list`: one status list, signed for edges. No policy routes this path; only
//! an edge itself asks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use gate::{Code, Problem, status};
use serde::Deserialize;

use crate::app::App;
use crate::caller::Edge;
use crate::input::Parameters;
use crate::problem::Refusal;

/// How long another origin's change may take to come here.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Which list, and which serial it has to know of.
#[derive(Deserialize)]
pub(super) struct Wanted {
    uri: String,
    serial: i64,
}

/// The list as it is now, signed with the root key like a bundle.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    _: Edge,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<impl IntoResponse, Refusal> {
    let mut in_force = app.policy.in_force();
    let caught_up = in_force.wait_for(|in_force| in_force.content.progress.serial >= wanted.serial);
    let behind = || Problem::new(Code::PolicyUnavailable, "This origin does not know of it yet.").retry_after(1);
    let in_force = match tokio::time::timeout(CATCH_UP, caught_up).await {
        Ok(in_force) => Arc::clone(&*in_force.map_err(Refusal::internal)?),
        Err(_) => return Err(behind().into()),
    };
    let issuer = in_force.policy.own_issuer().map(|issuer| issuer.issuer.as_str()).unwrap_or_default();
    let number = wanted.uri.rsplit('/').next().and_then(|number| number.parse().ok());
    let number = number.filter(|number| status::uri(issuer, *number) == wanted.uri).ok_or_else(Refusal::not_found)?;
    let text = in_force.status_list(number, app.clock.now_s());
    Ok(([(CONTENT_TYPE, format!("application/{}", status::TYPE))], text))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use gate::bundle::open;
    use gate::identity::CONTROL_AUDIENCE;
    use gate::keys::KeySet;
    use serde_json::{Value, json};

    use crate::policy::PolicyCenter;
    use crate::revocation::{Withdrawal, record};
    use crate::store::{AuditEntry, Whose};
    use crate::test_app::{Reply, TestApp};

    fn claims(token: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }

    async fn ask(app: &TestApp, target: &str) -> Reply {
        app.send(app.edge_request(target, CONTROL_AUDIENCE, &[])).await
    }

    #[tokio::test]
    async fn a_login_that_ends_is_a_bit_in_a_list() {
        let app = TestApp::new().await;
        app.post("/register", json!({"username": "ada", "password": "correct horse"})).await;
        let mut logins = Vec::new();
        for _ in 0..2 {
            let reply = app.post("/login", json!({"username": "ada", "password": "correct horse"})).await;
            logins.push(claims(reply.json()["token"].as_str().unwrap()));
        }
        let status = |login: usize| logins[login]["status"]["status_list"].clone();
        assert_eq!(status(0)["uri"], "cosygate/status/0");
        assert_ne!(status(0)["idx"], status(1)["idx"]);

        let center: &PolicyCenter = &app.app.policy;
        let roots = KeySet::from_jwks(&center.roots()).unwrap();
        let bundle = || open(center.bundle("local", "e1").text.as_bytes(), &roots, "local").unwrap();
        assert!(bundle().lists.is_empty());
        let sid = logins[0]["sid"].as_str().unwrap();
        let withdrawal = Withdrawal { whose: Whose::Session, subject: sid, author: "cli:test", reason: "lost" };
        let now_ms = app.app.clock.now_ms();
        let record = record(withdrawal, &center.now().document, now_ms).unwrap();
        app.app.store.control().revoke(&record, &AuditEntry::of_system(now_ms, "revoke")).await.unwrap();
        center.look().await;

        let bundle = bundle();
        assert!(bundle.revocation.sessions.is_empty(), "the list tells it");
        let serial = bundle.lists["cosygate/status/0"];
        let target = format!("/internal/edge/list?uri=cosygate%2Fstatus%2F0&serial={serial}");
        let reply = ask(&app, &target).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/statuslist+jwt"));
        let mut lists = gate::status::Lists::default();
        let uri = "cosygate/status/0";
        lists.put(uri, gate::status::open(&reply.body, &roots, uri).unwrap());
        assert!(lists.has(uri, serial) && !lists.has(uri, serial + 1));

        // Everybody may read it, under the issuer's key.
        let public = app.send(app.request("GET", "/status/0", None, None)).await;
        assert_eq!(public.header("cache-control"), "public, max-age=15");
        let text = String::from_utf8(public.body.to_vec()).unwrap();
        let issuer = KeySet::from_jwks(&center.issuer().jwks()).unwrap();
        gate::status::open(text.as_bytes(), &issuer, uri).unwrap();
        let packed = claims(&text)["status_list"].clone();
        assert_eq!((claims(&text)["sub"].as_str(), packed["bits"].as_u64()), (Some(uri), Some(1)));
        assert_eq!(app.send(app.request("GET", "/status/nothing", None, None)).await.status.as_u16(), 404);

        // What is not known yet is not told, and neither is another server's.
        let ahead = format!("/internal/edge/list?uri=cosygate%2Fstatus%2F0&serial={}", serial + 1);
        assert_eq!(ask(&app, &ahead).await.code(), "policy_unavailable");
        assert_eq!(
            ask(&app, &format!("/internal/edge/list?uri=other%2Fstatus%2F0&serial={serial}")).await.code(),
            "not_found"
        );
        assert_eq!(app.send(app.request("GET", &target, None, None)).await.code(), "token_invalid");
    }
}

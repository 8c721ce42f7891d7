//! What every chain must let pass and refuse before it is measured.

use anyhow::ensure;
use reqwest::{Client, Response};

use super::chains::{Chain, Chains, METERED};
use super::tokens::{ALGORITHMS, Algorithm, Mint, malformed, with_bad_signature};

/// Checks one chain with every algorithm: a sound token passes as its user, anything else is
/// refused, a role without rights is refused, and a limit counts.
///
/// # Errors
/// What the chain did otherwise.
pub async fn check(chains: &Chains, chain: Chain) -> anyhow::Result<()> {
    for algorithm in &ALGORITHMS {
        check_algorithm(chains, chain, algorithm).await.map_err(|error| {
            error.context(format!("{chain:?} does not do its job with {}; see\n{}", algorithm.name, chains.envoy.log()))
        })?;
    }
    Ok(())
}

async fn check_algorithm(chains: &Chains, chain: Chain, algorithm: &Algorithm) -> anyhow::Result<()> {
    let client = Client::new();
    let get = async |token: Option<&str>| -> anyhow::Result<Response> {
        let url = chains.url(chain, &format!("/check/{}", algorithm.path));
        let request = client.get(url).header("x-user-id", "somebody-else").header("x-user-role", "admin");
        Ok(match token {
            Some(token) => request.bearer_auth(token).send().await?,
            None => request.send().await?,
        })
    };
    let mint = Mint::new(algorithm);
    let sound = mint.token("free", 0);
    let passed = get(Some(&sound)).await?;
    ensure!(passed.status() == 200, "a sound token gets {}", passed.status());
    let received = |name: &str| passed.headers().get(format!("received-{name}")).and_then(|value| value.to_str().ok());
    if chain == Chain::NoFilter {
        return Ok(());
    }
    let user = received("x-user-id").unwrap_or_default();
    ensure!(user.rsplit(':').next() == Some(&mint.subject()), "the user is `{user}`");
    ensure!(received("x-user-role") == Some("free"), "the role is {:?}", received("x-user-role"));
    ensure!(received("authorization").is_none(), "the credential reaches the origin");
    let seals = matches!(chain, Chain::Sealing | Chain::Announcing);
    ensure!(seals == received("x-cosygate-identity").is_some(), "the seal is not as expected");
    let announces = passed.headers().contains_key("ratelimit");
    ensure!((chain == Chain::Announcing) == announces, "what is said of the limit is not as expected");

    for (what, token) in [
        ("no token", None),
        ("a bad signature", Some(with_bad_signature(&sound))),
        ("a malformed token", Some(malformed(&sound))),
    ] {
        let status = get(token.as_deref()).await?.status();
        ensure!(status == 401, "{what} gets {status}");
    }
    let status = get(Some(&mint.token("guest", 0))).await?.status();
    ensure!(status == 403, "a role that may not call gets {status}");
    let metered = mint.token(METERED.0, 0);
    let statuses = [get(Some(&metered)).await?.status(), get(Some(&metered)).await?.status()];
    ensure!(statuses == [200, 429], "two requests where one is allowed get {statuses:?}");
    Ok(())
}

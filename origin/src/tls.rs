//! HTTP clients that can speak TLS: rustls over ring, with the certificates that the machine trusts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reqwest::ClientBuilder;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Whom the machine trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "certificates that this machine trusts cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(ignored, "some certificates that this machine trusts are not such as can be used");
    }
    Arc::new(roots)
});

/// A client that goes where it is told and nowhere else: neither a redirect nor the environment
/// changes that. A machine that trusts nobody can still speak plain HTTP.
///
/// # Errors
/// Never, in truth: ring has what TLS 1.2 and 1.3 need.
pub fn client(connect_timeout: Duration) -> Result<ClientBuilder, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(&ROOTS))
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy())
}

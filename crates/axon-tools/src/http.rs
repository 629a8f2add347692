//! What all HTTP clients of this crate have in common.

use std::time::Duration;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client to be built: TLS by rustls with ring, certificates of the machine, no proxy of the environment.
pub(crate) fn client() -> reqwest::ClientBuilder {
    // Refused where the process has a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy()
        .user_agent(concat!("axon/", env!("CARGO_PKG_VERSION")))
}

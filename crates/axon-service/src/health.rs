//! A small HTTP server for probes and Prometheus: `/metrics`, `/healthz`, `/readyz`. It serves nothing else, ever.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::telemetry::Telemetry;

const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address and port; port 0 takes any free one (the log tells which), an empty text switches the server off.
    pub listen: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or is none.
    #[error("cannot listen on {address:?} for metrics and health: {reason}; choose another address in `health.listen`")]
    Bind {
        /// The address as configured.
        address: String,
        /// What the operating system said.
        reason: io::Error,
    },
}

/// The readiness of this process, check by check. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    // Probes read it from another task than the one that knows; nothing is awaited while it is locked.
    checks: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Health {
    /// Without checks the process is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `check` (`nats`, `pulling`) or updates it.
    pub fn set_ready(&self, check: &'static str, ready: bool) {
        let before = self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(check, ready);
        match (before, ready) {
            (None | Some(true), false) => info!(check, "not ready"),
            (Some(false), true) => info!(check, "ready"),
            _ => {}
        }
    }

    /// The checks that fail now; none means ready.
    pub fn failing(&self) -> Vec<&'static str> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(check, _)| *check)
            .collect()
    }
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// The address bound, with the real port; none if the server is switched off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until the server has ended, after its token fired.
    pub async fn stopped(self) {
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            warn!(%error, "the health server failed");
        }
    }
}

/// Binds the configured address and serves until `stop` fires. Give it a token that outlives the drain, so that a
/// draining process can still be observed.
pub async fn serve(
    config: &Config,
    health: Health,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<Server, Error> {
    if config.listen.is_empty() {
        return Ok(Server {
            address: None,
            task: None,
        });
    }
    let refused = |reason| Error::Bind {
        address: config.listen.clone(),
        reason,
    };
    let listener = TcpListener::bind(&config.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    info!(%address, "serving metrics and health");

    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((health, telemetry));
    let task = tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            warn!(%error, "the health server failed");
        }
    });
    Ok(Server {
        address: Some(address),
        task: Some(task),
    })
}

async fn metrics(State((_, telemetry)): State<(Health, Telemetry)>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], telemetry.render())
}

async fn ready(State((health, _)): State<(Health, Telemetry)>) -> (StatusCode, String) {
    let failing = health.failing();
    if failing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}\n", failing.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::telemetry;

    async fn start(listen: &str, health: Health) -> Result<(Server, CancellationToken), Error> {
        let stop = CancellationToken::new();
        let recorder = telemetry::recorder().expect("builds");
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::counter!(crate::metrics::TASKS_TOTAL).increment(3)
        });
        let telemetry = Telemetry::over(recorder.handle()).expect("in a runtime");
        let config = Config {
            listen: listen.to_owned(),
        };
        Ok((serve(&config, health, telemetry, stop.clone()).await?, stop))
    }

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: axon\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("reads");
        let status = response
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        (status, response.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    #[tokio::test]
    async fn answers_probes_and_prometheus_until_stopped() {
        let health = Health::new();
        let (server, stop) = start("127.0.0.1:0", health.clone()).await.expect("serves");
        let address = server.address().expect("bound");

        assert_eq!(get(address, "/healthz").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 200);
        health.set_ready("nats", false);
        health.set_ready("pulling", false);
        health.set_ready("registry", true);
        assert_eq!(
            get(address, "/readyz").await,
            (503, "not ready: nats, pulling\n".to_owned())
        );
        assert_eq!(get(address, "/healthz").await.0, 200);
        health.set_ready("nats", true);
        health.set_ready("pulling", true);
        assert_eq!(get(address, "/readyz").await.0, 200);

        let (status, body) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("axon_tasks_total 3"), "{body}");
        assert_eq!(get(address, "/else").await.0, 404);

        stop.cancel();
        server.stopped().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn names_the_address_that_is_taken_and_the_key() {
        let (server, _stop) = start("127.0.0.1:0", Health::new()).await.expect("serves");
        let taken = server.address().expect("bound").to_string();
        let error = start(&taken, Health::new()).await.expect_err("taken").to_string();
        assert!(error.contains(&taken) && error.contains("`health.listen`"), "{error}");
        let error = start("nonsense", Health::new())
            .await
            .expect_err("no address")
            .to_string();
        assert!(
            error.contains("nonsense") && error.contains("`health.listen`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_empty_address_switches_it_off() {
        let (server, _stop) = start("", Health::new()).await.expect("off");
        assert_eq!(server.address(), None);
        server.stopped().await;
    }
}

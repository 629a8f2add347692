//! How a process reaches NATS and what limits it keeps to there.

use axon_protocol::Namespace;
use axon_service::Secret;
use serde::{Deserialize, Serialize};

/// The `[bus]` section of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the server, or several separated by commas. Default `nats://127.0.0.1:4222`.
    pub url: String,
    /// First token of every subject and prefix of every stream. Default `axon`.
    pub namespace: Namespace,
    /// Path of a NATS credentials file; empty for none.
    pub credentials: String,
    /// User name; empty for none.
    pub user: String,
    /// Password of the user.
    pub password: Secret,
    /// Token; empty for none.
    pub token: Secret,
    /// Path of a PEM file with the certificates of the server's authority; empty for the system's.
    pub tls_ca: String,
    /// Copies the server keeps of each stream: 1, 3 or 5. Default 1.
    pub replicas: usize,
    /// Most megabytes one stream may take; lowers what the topology declares. Default 0: as declared.
    pub stream_mb_max: u64,
    /// Seconds to wait for the first connection. Default 10.
    pub connect_timeout_s: u64,
    /// Messages kept in the history stream; tasks that are queued together are one. Default 100,000.
    pub max_history_size: i64,
    /// Messages the dead-letter stream holds before it refuses. Default 100,000.
    pub max_dead_letters: i64,
    /// Failed publishes in a row after which the circuit breaker opens. Default 5.
    pub circuit_breaker_threshold: u32,
    /// Seconds the circuit breaker stays open before it lets a probe through. Default 5.
    pub circuit_breaker_timeout: u64,
    /// Messages a process may publish per second; more wait. 0 is no limit. Default 100,000.
    pub rate_limit_per_agent: u32,
    /// Whether queries and tasks are kept in the history, and queries remembered as episodes. Default true.
    pub persist_to_episodic: bool,
    /// Messages a subscription buffers before it drops and counts them as lost. Default 65,536.
    pub broadcast_capacity: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            namespace: Namespace::default(),
            credentials: String::new(),
            user: String::new(),
            password: Secret::default(),
            token: Secret::default(),
            tls_ca: String::new(),
            replicas: 1,
            stream_mb_max: 0,
            connect_timeout_s: 10,
            max_history_size: 100_000,
            max_dead_letters: 100_000,
            circuit_breaker_threshold: 5,
            circuit_breaker_timeout: 5,
            rate_limit_per_agent: 100_000,
            persist_to_episodic: true,
            broadcast_capacity: 65_536,
        }
    }
}

//! A namespace of its own for each test on a server, with buses connected to it.

use std::time::Duration;

use axon_bus::{Bus, Config, Error, Message};
use axon_protocol::{Headers, Namespace};
use serde_json::Value;

use crate::Server;

/// A namespace on a server.
#[derive(Clone, Debug)]
pub struct Bed {
    /// How to connect to it; change what a test needs and then connect.
    pub config: Config,
}

impl Bed {
    /// A fresh namespace on the server that all tests share, declared.
    pub async fn new() -> (Self, Bus) {
        Self::on(crate::shared()).await
    }

    /// A fresh namespace on a server, declared.
    pub async fn on(server: &Server) -> (Self, Bus) {
        let bed = Self::undeclared(server);
        let bus = bed.connect("test").await;
        bus.declare().await.expect("the topology is declared");
        (bed, bus)
    }

    /// A fresh namespace on a server in which nothing stands.
    pub fn undeclared(server: &Server) -> Self {
        Self {
            config: Config {
                url: server.url(),
                namespace: namespace(),
                stream_mb_max: 32,
                ..Config::default()
            },
        }
    }

    /// One more connection.
    pub async fn connect(&self, who: &str) -> Bus {
        Bus::connect(&self.config, who).await.expect("the bus connects")
    }
}

/// A namespace that nobody else uses.
pub fn namespace() -> Namespace {
    let random = uuid::Uuid::new_v4().simple().to_string();
    Namespace::new(format!("t{}", &random[..12])).expect("a namespace")
}

/// Asks the server something about JetStream, such as `STREAM.INFO.<name>`.
pub async fn json_request(bus: &Bus, what: &str, body: Value) -> Result<Value, Error> {
    let message = Message {
        subject: format!("$JS.API.{what}"),
        headers: Headers::new(),
        payload: if body.is_null() {
            bytes::Bytes::new()
        } else {
            body.to_string().into()
        },
    };
    let reply = bus.request(&message, Duration::from_secs(5)).await?;
    let value: Value = serde_json::from_slice(reply.payload()).expect("the server answers with JSON");
    assert!(value.get("error").is_none(), "{what}: {value}");
    Ok(value)
}

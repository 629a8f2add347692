//! Everything that can be configured of a lead, section by section.

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The configuration of a lead process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How it reaches NATS.
    pub bus: axon_bus::Config,
    /// How it logs.
    pub telemetry: axon_service::telemetry::Config,
    /// Where it serves metrics and health.
    pub health: axon_service::health::Config,
    /// How it leads.
    pub lead: Config,
    /// How it judges workers.
    pub registry: axon_service::RegistryConfig,
    /// The language model that revises plans, where one may.
    pub model: axon_model::Config,
}

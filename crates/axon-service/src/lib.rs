//! What every Axon process has: configuration, telemetry, health endpoints and shutdown.

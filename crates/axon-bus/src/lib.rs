//! The only user of the NATS client: topology, publish, consume, fence, retry, dead letters.

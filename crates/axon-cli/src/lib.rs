//! The axon command: run a local fleet, ask, watch, operate, measure.

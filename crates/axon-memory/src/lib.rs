//! Cortex, the memory of the fleet: episodes and strategy statistics.

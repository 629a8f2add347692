//! The worker: takes tasks of its capabilities, runs them within their boundaries, publishes one result each.

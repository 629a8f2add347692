//! `axon-worker`.

fn main() {}

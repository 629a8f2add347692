//! `axon`.

fn main() {}

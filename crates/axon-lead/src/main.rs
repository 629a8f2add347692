//! `axon-lead`.

fn main() {}

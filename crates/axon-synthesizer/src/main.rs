//! `axon-synthesizer`.

fn main() {}

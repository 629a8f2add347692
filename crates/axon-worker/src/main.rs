//! `axon-worker`: takes tasks of its capabilities, runs them, publishes one result each.

fn main() -> anyhow::Result<()> {
    axon_worker::run()
}

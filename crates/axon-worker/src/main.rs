//! `axon-worker`: takes tasks of its capabilities, runs them, publishes one result each.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    axon_worker::run()
}

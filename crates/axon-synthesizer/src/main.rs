//! `axon-synthesizer`: takes synthesis requests, reads the results, publishes the one answer of each query.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    axon_synthesizer::run()
}

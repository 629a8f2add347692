//! `axon-lead`: analyses queries, plans and delegates them, and sees to it that each gets exactly one answer.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    axon_lead::run()
}

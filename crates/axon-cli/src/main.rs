//! `axon`: the command line of a fleet.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread: a command waits for the server, for processes and for people.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    axon_cli::run().await
}

//! `axon`: the command line of a fleet.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    axon_cli::run().await
}

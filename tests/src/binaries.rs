//! Where the binaries of the fleet are: those that `make test` built, else built here, once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PACKAGES: [&str; 4] = ["axon-cli", "axon-lead", "axon-worker", "axon-synthesizer"];

/// The path of one of `axon`, `axon-lead`, `axon-worker`, `axon-synthesizer`.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(folder).join(name);
    assert!(path.is_file(), "{} is missing: run `make test`", path.display());
    path
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("AXON_TEST_BIN_DIR") {
        return PathBuf::from(folder);
    }
    // A test binary lies in `<target>/<profile>/deps`; the binaries lie beside that folder.
    let own = std::env::current_exe().expect("the path of the test binary");
    let profile = own.ancestors().nth(2).expect("the folder of the profile").to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.arg("build").current_dir(root());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    for package in PACKAGES {
        build.args(["-p", package]);
    }
    let built = build.status().expect("cargo starts");
    assert!(built.success(), "cargo cannot build the binaries");
    profile
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the repository")
}

//! Tells the crate which version of the tools it is: a number that changes with everything that decides what they return, so
//! that no process uses what another version remembered.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::{fs, io};

/// The code of the tools, their rules, and the versions of what they are made of.
const SOURCES: [&str; 4] = ["src", "rules", "Cargo.toml", "../../Cargo.lock"];

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        hash(Path::new(source), &mut hasher)?;
    }
    println!("cargo::rustc-env=AXON_TOOLS_VERSION={:016x}", hasher.finish());
    Ok(())
}

/// Adds a file, or all files below a directory in the order of their names.
fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        return paths.iter().try_for_each(|path| hash(path, hasher));
    }
    path.hash(hasher);
    fs::read(path)?.hash(hasher);
    Ok(())
}

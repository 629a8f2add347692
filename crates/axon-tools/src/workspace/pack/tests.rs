use super::*;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), files);
    dir
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
}

fn paths(packed: &Packed) -> Vec<&str> {
    packed.manifest.files.iter().map(|file| file.path.as_str()).collect()
}

fn packed(dir: &Path) -> Packed {
    pack(dir, &PackLimits::default()).expect("packed")
}

#[test]
fn what_belongs_to_a_project_is_packed_and_nothing_else() {
    let dir = directory(&[
        (".gitignore", "/target\n*.log\n"),
        (".axonignore", "vendor/\n"),
        (".env", "SECRET=1"),
        (".ssh/id", "key"),
        (".github/workflows/ci.yml", "on: push"),
        (".cargo/config.toml", ""),
        ("src/main.rs", "fn main() {}\n"),
        ("src/.hidden", "x"),
        ("target/debug/out.txt", "x"),
        ("run.log", "x"),
        ("vendor/x.c", "x"),
        ("sub/.gitignore", "skip\n"),
        ("sub/skip", "x"),
        ("sub/keep", "x"),
        (MANIFEST_NAME, "{}"),
    ]);
    fs::write(dir.path().join("image.bin"), [1, 2, 0, 3]).expect("written");
    fs::write(dir.path().join("bad\nname"), "x").expect("written");
    for name in [&b"bytes\xff"[..], b".hidden\xff"] {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").expect("written");
    }
    fs::write(dir.path().join("large.txt"), vec![b'x'; (1 << 20) + 1]).expect("written");
    fs::write(dir.path().join("edge.txt"), vec![b'x'; 1 << 20]).expect("written");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).expect("linked");
    std::os::unix::fs::symlink("/etc", dir.path().join("link_dir")).expect("linked");
    let packed = packed(dir.path());
    assert_eq!(
        paths(&packed),
        [
            ".axonignore",
            ".cargo/config.toml",
            ".github/workflows/ci.yml",
            ".gitignore",
            "edge.txt",
            "src/main.rs",
            "sub/.gitignore",
            "sub/keep",
        ]
    );
    let skipped: Vec<(&str, &str)> = packed
        .manifest
        .skipped
        .iter()
        .map(|skipped| (skipped.path.as_str(), skipped.reason.as_str()))
        .collect();
    assert_eq!(
        skipped,
        [
            ("bad\\nname", "its name is no printable text"),
            ("bytes\u{fffd}", "its name is no printable text"),
            ("large.txt", "larger than 1048576 bytes"),
            ("link", "no regular file"),
            ("link_dir", "no regular file"),
            ("image.bin", "no text"),
        ]
    );
    assert_eq!(packed.manifest.skipped_more, 0);
    assert_eq!(
        packed.manifest.get("src/main.rs"),
        Some(&FileEntry::of("src/main.rs", b"fn main() {}\n"))
    );
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let files = [("b.rs", "fn b() {}"), ("a/z.py", "z = 1\n"), ("a.txt", "text")];
    let first = directory(&files);
    let reversed: Vec<_> = files.iter().rev().copied().collect();
    let second = directory(&reversed);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(second.path().join("b.rs"))
        .expect("opened")
        .set_modified(old)
        .expect("set");
    assert_eq!(packed(first.path()).bytes, packed(second.path()).bytes);
    assert_eq!(packed(first.path()).digest, Digest::of(&packed(second.path()).bytes));
    write(second.path(), &[("a.txt", "texT")]);
    assert_ne!(packed(first.path()).digest, packed(second.path()).digest);
}

#[test]
fn a_repository_gives_its_revision_and_its_ignores_to_its_directories() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let dir = directory(&[
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", &format!("{commit}\n")),
        (".git/objects/info/.keep", ""),
        (".git/info/exclude", "*.secret\n"),
        (".gitignore", "*.log\n"),
        ("crate/a.rs", "x"),
        ("crate/a.log", "x"),
        ("crate/a.secret", "x"),
    ]);
    assert_eq!(paths(&packed(dir.path())), [".gitignore", "crate/a.rs"]);
    let part = packed(&dir.path().join("crate"));
    assert_eq!(paths(&part), ["a.rs"]);
    assert_eq!(part.manifest.revision.as_deref(), Some(commit));

    // Outside of a repository what lies above has no say.
    fs::remove_dir_all(dir.path().join(".git")).expect("removed");
    let part = packed(&dir.path().join("crate"));
    assert_eq!(
        (paths(&part), part.manifest.revision.clone()),
        (vec!["a.log", "a.rs", "a.secret"], None)
    );
}

#[test]
fn what_cannot_be_packed_is_refused_with_what_to_do() {
    let dir = directory(&[
        ("ws/big/a.txt", "123456789"),
        ("ws/small.txt", "1234"),
        ("empty/.env", "x"),
        ("file", "x"),
    ]);
    let limits = PackLimits::default();
    for (path, limits, expected) in [
        ("none", limits, "does not exist"),
        ("file", limits, "is no directory"),
        ("file/below", limits, "is no directory"),
        ("empty", limits, "nothing to pack"),
        (
            "ws",
            PackLimits {
                total_bytes_max: 12,
                ..limits
            },
            "more than 12 bytes of text, most of it in `big`",
        ),
        ("ws", PackLimits { files_max: 1, ..limits }, "more than 1 text files"),
        (
            "ws",
            PackLimits {
                file_bytes_max: 3,
                ..limits
            },
            "nothing to pack",
        ),
    ] {
        let message = pack(&dir.path().join(path), &limits).expect_err(expected).to_string();
        assert!(message.contains(expected), "{path}: {message}");
    }
    assert!(
        pack(
            &dir.path().join("ws"),
            &PackLimits {
                total_bytes_max: 13,
                files_max: 2,
                ..limits
            }
        )
        .is_ok()
    );
}

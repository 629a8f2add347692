use super::*;
use crate::{PackLimits, pack};
use tar::EntryType;

/// An entry, made by hand so that it can be anything.
struct Raw<'a> {
    path: &'a [u8],
    kind: u8,
    content: Vec<u8>,
    link: &'a str,
    size: Option<u64>,
}

fn raw<'a>(path: &'a str, kind: u8, content: impl Into<Vec<u8>>) -> Raw<'a> {
    Raw {
        path: path.as_bytes(),
        kind,
        content: content.into(),
        link: "",
        size: None,
    }
}

fn file<'a>(path: &'a str, content: &str) -> Raw<'a> {
    raw(path, b'0', content)
}

fn link<'a>(path: &'a str, kind: u8, target: &'a str) -> Raw<'a> {
    Raw {
        link: target,
        ..raw(path, kind, "")
    }
}

fn tar_of(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        // The library's setters refuse what these tests need.
        header.as_gnu_mut().expect("gnu").name[..entry.path.len()].copy_from_slice(entry.path);
        header.as_gnu_mut().expect("gnu").linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(EntryType::new(entry.kind));
        header.set_mode(0o644);
        header.set_size(entry.size.unwrap_or(entry.content.len() as u64));
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn archive(entries: &[Raw<'_>]) -> Vec<u8> {
    zstd::encode_all(tar_of(entries).as_slice(), 1).expect("encoded")
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        // The length counts itself.
        let rest = key.len() + value.len() + 3;
        let digits = (rest + rest.to_string().len()).to_string().len();
        bytes.extend_from_slice(format!("{} {key}={value}\n", rest + digits).as_bytes());
    }
    bytes
}

/// Unpacks below a directory that must stay as it was if that fails.
fn attempt(archive: &[u8], limits: &UnpackLimits) -> Result<(Manifest, tempfile::TempDir), UnpackError> {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("victim"), "untouched").expect("written");
    let cache = dir.path().join("cache");
    let outcome = unpack(archive, &cache.join("target"), limits);
    assert_eq!(
        fs::read_to_string(dir.path().join("victim")).expect("there"),
        "untouched"
    );
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .expect("listed")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(dir.path()), ["cache", "victim"]);
    assert_eq!(
        names(&cache),
        if outcome.is_ok() { vec!["target"] } else { vec![] },
        "nothing is left behind"
    );
    outcome.map(|manifest| (manifest, dir))
}

#[test]
fn hostile_archives_are_refused_and_write_nothing() {
    let long_name = "n".repeat(256);
    let long_path = format!("{}f", "directory/".repeat(110));
    let deep = format!("{}f", "d/".repeat(64));
    let other = |path: &'static [u8]| Raw {
        path,
        ..raw("", b'0', "x")
    };
    for (what, entries, expected) in [
        ("absolute", vec![file("/victim", "x")], "has an absolute path"),
        (
            "absolute behind a dot",
            vec![file(".//victim", "x")],
            "has an absolute path",
        ),
        ("up", vec![file("../victim", "x")], "leads outside"),
        ("up in the middle", vec![file("a/../../victim", "x")], "leads outside"),
        ("up and back in", vec![file("a/../b", "x")], "leads outside"),
        (
            "up as directory",
            vec![raw("..", b'5', ""), file("a", "x")],
            "leads outside",
        ),
        ("up at the end", vec![raw("a/..", b'5', "")], "leads outside"),
        (
            "symbolic link",
            vec![link("a", b'2', "/etc/passwd")],
            "is a symbolic link",
        ),
        (
            "through a link",
            vec![link("a", b'2', ".."), file("a/victim", "x")],
            "is a symbolic link",
        ),
        (
            "hard link",
            vec![file("b", "x"), link("a", b'1', "b")],
            "is a hard link",
        ),
        ("character device", vec![raw("a", b'3', "")], "is a device"),
        ("block device", vec![raw("a", b'4', "")], "is a device"),
        ("fifo", vec![raw("a", b'6', "")], "is a fifo"),
        ("contiguous", vec![raw("a", b'7', "x")], "is a special entry"),
        ("sparse", vec![raw("a", b'S', "x")], "is a special entry"),
        (
            "long link name",
            vec![raw("././@LongLink", b'K', "target\0"), file("a", "x")],
            "is a special entry",
        ),
        ("unknown kind", vec![raw("a", b'Z', "x")], "is a special entry"),
        (
            "twice",
            vec![file("a", "x"), file("b", "x"), file("a", "y")],
            "\"a\" occurs twice",
        ),
        (
            "twice, spelled otherwise",
            vec![file("a", "x"), file("./a", "y")],
            "\"a\" occurs twice",
        ),
        (
            "below a file",
            vec![file("a", "x"), file("a/b", "y")],
            "\"a\" occurs twice",
        ),
        (
            "file over directory",
            vec![file("a/b", "x"), file("a", "y")],
            "\"a\" occurs twice",
        ),
        (
            "directory over file",
            vec![file("a", "x"), raw("a/", b'5', "")],
            "\"a\" occurs twice",
        ),
        ("no name", vec![file("", "x")], "has an empty path"),
        ("only a dot", vec![file("./", "x")], "has an empty path"),
        ("empty part", vec![file("a//b", "x")], "has an empty part"),
        ("file with a slash", vec![file("a/", "x")], "has an empty part"),
        ("line break", vec![file("a\nb", "x")], "control character"),
        ("escape", vec![file("a\x1b[2Jb", "x")], "control character"),
        ("no utf-8", vec![other(b"a\xff")], "no UTF-8"),
        (
            "long name",
            vec![raw("x", b'L', long_name.as_str()), file("x", "x")],
            "name that is too long",
        ),
        (
            "long path",
            vec![raw("x", b'L', long_path.as_str()), file("x", "x")],
            "path that is too long",
        ),
        (
            "deep",
            vec![raw("x", b'x', pax(&[("path", &deep)])), file("x", "x")],
            "lies too deep",
        ),
        (
            "long name up",
            vec![raw("x", b'L', "../victim\0"), file("x", "x")],
            "leads outside",
        ),
        (
            "extended path up",
            vec![raw("x", b'x', pax(&[("path", "../victim")])), file("x", "x")],
            "leads outside",
        ),
        (
            "extended size",
            vec![raw("x", b'x', pax(&[("size", "1")])), file("x", "xyz")],
            "changes what an entry is",
        ),
        (
            "extended link",
            vec![raw("x", b'x', pax(&[("linkpath", "/etc")])), file("x", "x")],
            "changes what an entry is",
        ),
        (
            "huge extended header",
            vec![raw("x", b'x', vec![b'0'; 70_000])],
            "extended header of its is above",
        ),
        (
            "huge long name",
            vec![raw("x", b'L', vec![b'n'; 70_000])],
            "extended header of its is above",
        ),
        (
            "huge file",
            vec![raw("a", b'0', vec![b'x'; (FILE_BYTES_MAX + 1) as usize])],
            "the size of \"a\" in bytes is above",
        ),
        (
            "huge claim",
            vec![Raw {
                size: Some(1 << 60),
                ..file("a", "x")
            }],
            "the size of \"a\" in bytes is above",
        ),
        (
            "cut short",
            vec![Raw {
                size: Some(5000),
                ..file("a", "x")
            }],
            "cannot be read",
        ),
        (
            "damaged manifest",
            vec![file(MANIFEST_NAME, "{"), file("a", "x")],
            "cannot be read",
        ),
        ("nothing", vec![], "holds no file"),
        (
            "directories alone",
            vec![raw("a/", b'5', ""), raw("b/c", b'5', "")],
            "holds no file",
        ),
        (
            "manifest alone",
            vec![file(MANIFEST_NAME, "{\"files\":[]}")],
            "holds no file",
        ),
    ] {
        let message = attempt(&archive(&entries), &UnpackLimits::default())
            .expect_err(what)
            .to_string();
        assert!(message.contains(expected), "{what}: {message}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    let good = archive(&[file("a", "some text"), file("b", "more text")]);
    let tar = tar_of(&[file("a", "x")]);
    let random: Vec<u8> = (0..4096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"no archive".to_vec()),
        ("tar without zstd", tar),
        (
            "random bytes in zstd",
            zstd::encode_all(random.as_slice(), 1).expect("encoded"),
        ),
        ("cut short", good[..good.len() - 8].to_vec()),
    ] {
        let error = attempt(&bytes, &UnpackLimits::default()).expect_err(what);
        assert!(
            matches!(error, UnpackError::Format(_) | UnpackError::Empty),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_bomb_is_stopped_before_it_goes_off() {
    // 64 MiB of zeros in a few kilobytes.
    let zeros = vec![0; 64 << 20];
    for (what, tar) in [
        (
            "small files",
            tar_of(
                &(0..12)
                    .map(|_| raw("a", b'0', zeros[..6 << 20].to_vec()))
                    .collect::<Vec<_>>(),
            ),
        ),
        ("zeros alone", zeros.clone()),
    ] {
        let archive = zstd::encode_all(tar.as_slice(), 19).expect("encoded");
        assert!(archive.len() < 100_000, "{what}");
        assert!(attempt(&archive, &UnpackLimits::default()).is_err(), "{what}");
    }
    let files: Vec<String> = (0..12).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> = files
        .iter()
        .map(|path| raw(path, b'0', zeros[..6 << 20].to_vec()))
        .collect();
    let bomb = archive(&entries);
    assert!(
        matches!(attempt(&bomb, &UnpackLimits::default()), Err(UnpackError::Bomb { .. })),
        "by ratio"
    );
    let generous = UnpackLimits {
        ratio_max: u64::MAX,
        ..UnpackLimits::default()
    };
    assert!(attempt(&bomb, &generous).is_ok(), "it is the ratio that stops it");
}

#[test]
fn each_limit_holds_at_its_edge() {
    let entries = [file("a", "12345"), file("b/c", "67890")];
    let bytes = archive(&entries);
    let size = bytes.len() as u64;
    for (what, limits, fits) in [
        (
            "archive",
            UnpackLimits {
                archive_bytes_max: size,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "archive",
            UnpackLimits {
                archive_bytes_max: size - 1,
                ..UnpackLimits::default()
            },
            false,
        ),
        (
            "file",
            UnpackLimits {
                file_bytes_max: 5,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "file",
            UnpackLimits {
                file_bytes_max: 4,
                ..UnpackLimits::default()
            },
            false,
        ),
        (
            "total",
            UnpackLimits {
                total_bytes_max: 10,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "total",
            UnpackLimits {
                total_bytes_max: 9,
                ..UnpackLimits::default()
            },
            false,
        ),
        (
            "entries",
            UnpackLimits {
                entries_max: 2,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "entries",
            UnpackLimits {
                entries_max: 1,
                ..UnpackLimits::default()
            },
            false,
        ),
        (
            "path",
            UnpackLimits {
                path_bytes_max: 3,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "path",
            UnpackLimits {
                path_bytes_max: 2,
                ..UnpackLimits::default()
            },
            false,
        ),
        (
            "depth",
            UnpackLimits {
                depth_max: 2,
                ..UnpackLimits::default()
            },
            true,
        ),
        (
            "depth",
            UnpackLimits {
                depth_max: 1,
                ..UnpackLimits::default()
            },
            false,
        ),
    ] {
        assert_eq!(attempt(&bytes, &limits).is_ok(), fits, "{what}: {limits:?}");
    }
}

#[test]
fn archives_of_others_are_read() {
    let long = format!("{}/file.py", "long-directory-name".repeat(8));
    let mut executable = tar::Header::new_gnu();
    executable.set_mode(0o4777);
    let entries = vec![
        raw("pax_global_header", b'g', pax(&[("comment", "0123")])),
        raw("./", b'5', ""),
        raw("./src/", b'5', ""),
        raw("./src", b'5', ""),
        file("./src/a.rs", "fn a() {}\n"),
        raw("x", b'x', pax(&[("mtime", "1.5"), ("path", "ünï.md")])),
        file("short", "# hi"),
        raw("././@LongLink", b'L', format!("{long}\0")),
        file("short", "x = 1\n"),
        raw("old", b'\0', "old style"),
    ];
    let bytes = archive(&entries);
    let (manifest, dir) = attempt(&bytes, &UnpackLimits::default()).expect("unpacked");
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [long.as_str(), "old", "src/a.rs", "ünï.md"]);
    assert_eq!(
        manifest
            .get("src/a.rs")
            .map(|file| (file.lines, file.language.as_str())),
        Some((1, "rust"))
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("cache/target/ünï.md")).expect("there"),
        "# hi"
    );
    assert_eq!(Manifest::from_archive(&bytes).expect("read"), manifest);
}

#[test]
fn a_manifest_cannot_lie_about_what_was_unpacked() {
    let lie =
        r#"{"revision":"abc","files":[{"path":"a.rs","bytes":999,"lines":9,"churn":7},{"path":"ghost","bytes":1}]}"#;
    let bytes = archive(&[file(MANIFEST_NAME, lie), file("a.rs", "x\n")]);
    let (manifest, _dir) = attempt(&bytes, &UnpackLimits::default()).expect("unpacked");
    assert_eq!(manifest.revision.as_deref(), Some("abc"));
    assert_eq!(
        manifest.files,
        [FileEntry {
            churn: 7,
            ..FileEntry::of("a.rs", b"x\n")
        }]
    );
    // The name means something at the first place alone.
    let bytes = archive(&[file("a.rs", "x\n"), file(MANIFEST_NAME, lie)]);
    let (manifest, _dir) = attempt(&bytes, &UnpackLimits::default()).expect("unpacked");
    assert_eq!((manifest.files.len(), manifest.revision), (2, None));
}

#[test]
fn a_history_is_read_behind_the_manifest_alone() {
    let manifest = r#"{"files":[{"path":"a.rs","bytes":2}]}"#;
    let history = r#"{"revision":"abc","commits":[]}"#;
    let read = |entries: &[Raw<'_>]| {
        let dir = tempfile::tempdir().expect("a directory");
        unpack_into(&archive(entries), dir.path(), &UnpackLimits::default()).map(|(manifest, past)| {
            let paths: Vec<String> = manifest.files.into_iter().map(|file| file.path).collect();
            (paths, past.history.map(|history| history.revision))
        })
    };
    let carried = [
        file(MANIFEST_NAME, manifest),
        file(HISTORY_NAME, history),
        file("a.rs", "x\n"),
    ];
    assert_eq!(
        read(&carried).expect("unpacked"),
        (vec!["a.rs".to_owned()], Some("abc".to_owned()))
    );
    // Archives of older versions bring none, and elsewhere the name is that of a file.
    assert_eq!(read(&carried[2..]).expect("unpacked"), (vec!["a.rs".to_owned()], None));
    let (paths, found) = read(&[file("a.rs", "x\n"), file(HISTORY_NAME, history)]).expect("unpacked");
    assert_eq!((paths.len(), found), (2, None));
    let broken = [
        file(MANIFEST_NAME, manifest),
        file(HISTORY_NAME, "[[[["),
        file("a.rs", "x\n"),
    ];
    assert!(matches!(read(&broken), Err(UnpackError::Format(_))));
    let large = " ".repeat(5 << 20);
    let large = [
        file(MANIFEST_NAME, manifest),
        file(HISTORY_NAME, &large),
        file("a.rs", "x\n"),
    ];
    assert!(matches!(read(&large), Err(UnpackError::TooLarge { .. })));
}

#[test]
fn changed_lines_are_read_behind_the_history_alone_and_are_bounded() {
    let manifest = r#"{"files":[{"path":"a.rs","bytes":2}]}"#;
    let history = r#"{"revision":"abc","commits":[]}"#;
    let patches = r#"{"commits":[{"id":"abc"}]}"#;
    let read = |patches: &str, with_history: bool| {
        let dir = tempfile::tempdir().expect("a directory");
        let mut entries = vec![file(MANIFEST_NAME, manifest)];
        if with_history {
            entries.push(file(HISTORY_NAME, history));
        }
        entries.extend([file(PATCHES_NAME, patches), file("a.rs", "x\n")]);
        unpack_into(&archive(&entries), dir.path(), &UnpackLimits::default())
            .map(|(manifest, past)| (manifest.files.len(), past.patches.map(|patches| patches.commits.len())))
    };
    assert_eq!(read(patches, true).expect("unpacked"), (1, Some(1)));
    // Elsewhere the name is that of a file.
    assert_eq!(read(patches, false).expect("unpacked"), (2, None));
    assert!(matches!(read("[[[[", true), Err(UnpackError::Format(_))));
    let large = " ".repeat(9 << 20);
    assert!(matches!(read(&large, true), Err(UnpackError::TooLarge { .. })));
}

#[test]
fn what_was_packed_comes_out_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    let long = "d".repeat(120);
    for (path, text) in [
        ("a.rs", "fn a() {}\n"),
        ("b/c.py", "x = 1"),
        (&format!("{long}/e.md"), "# e\n"),
    ] {
        let path = source.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
    fs::set_permissions(source.join("b/c.py"), Permissions::from_mode(0o700)).expect("set");
    let packed = pack(&source, &PackLimits::default()).expect("packed");
    let target = dir.path().join("target");
    let manifest = unpack(&packed.bytes, &target, &UnpackLimits::default()).expect("unpacked");
    assert_eq!(manifest, packed.manifest);
    assert_eq!(fs::read_to_string(target.join("b/c.py")).expect("there"), "x = 1");
    let mode = |path: &str| fs::metadata(target.join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("a.rs") & 0o100, mode("b/c.py")), (0, 0o755));
    // What the lead reads, without the rest of the archive being there.
    assert_eq!(Manifest::from_archive(&packed.bytes).expect("read"), manifest);
    assert!(matches!(
        unpack(&packed.bytes, &target, &UnpackLimits::default()),
        Err(UnpackError::Write { .. })
    ));
}

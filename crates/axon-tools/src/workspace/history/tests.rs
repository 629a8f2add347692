use std::fs;

use super::*;
use crate::testing::Made;
use crate::{PackLimits, UnpackLimits, pack, unpack};

fn read_part(made: &Made, part: &str, limits: &HistoryLimits) -> Option<Read> {
    let root = made.dir.path().canonicalize().expect("there").join(part);
    read(
        &gix::discover(&root).expect("a repository"),
        &root,
        limits,
        std::iter::empty(),
    )
}

fn shown(read: &Read) -> Vec<String> {
    let file = |change: &Change| match (change.added, change.removed) {
        (Some(added), Some(removed)) => format!("{} +{added} -{removed}", change.path),
        _ => change.path.clone(),
    };
    read.history
        .commits
        .iter()
        .map(|commit| {
            let files: Vec<String> = commit.files.iter().map(file).collect();
            format!("{}: {}", commit.subject, files.join(", "))
        })
        .collect()
}

#[test]
fn changed_lines_are_carried_of_the_newest_commits_as_long_as_there_is_room() {
    let made = repository();
    let limits = HistoryLimits::default();
    let carried = |limits: HistoryLimits| {
        let patches = read_part(&made, "", &limits).expect("a history").patches;
        let cut = patches
            .commits
            .iter()
            .flat_map(|commit| &commit.files)
            .filter(|patch| patch.cut)
            .count();
        (patches.commits.len(), cut)
    };
    assert_eq!(carried(limits), (5, 0));
    for (patch_bytes_max, commits) in [(0, 0), (600, 2), (1_000, 4)] {
        let limits = HistoryLimits {
            patch_bytes_max,
            ..limits
        };
        assert_eq!(carried(limits).0, commits, "{patch_bytes_max}");
    }
    // Files that are no longer named are carried all the same.
    assert_eq!(carried(HistoryLimits { files_max: 0, ..limits }), (5, 0));
    let limits = HistoryLimits {
        file_patch_bytes_max: 0,
        ..limits
    };
    assert_eq!(carried(limits).0, 5);
    assert!(carried(limits).1 > 4);
}

/// Three commits, a branch that is merged, and a file that goes.
fn repository() -> Made {
    let mut made = Made::new();
    made.commit("Begin", &[("src/a.rs", "one\ntwo\n"), ("README.md", "# a\n")]);
    made.commit("Change a\n\nBecause.", &[("src/a.rs", "one\nthree\nfour\n")]);
    made.git(&["checkout", "-q", "-b", "side"]);
    made.commit("Add b", &[("src/deep/b.rs", "b\n")]);
    made.git(&["checkout", "-q", "main"]);
    fs::remove_file(made.dir.path().join("README.md")).expect("removed");
    made.commit("Drop the readme", &[]);
    made.wait();
    made.git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"]);
    made
}

#[test]
fn commits_come_newest_first_with_what_they_changed() {
    let made = repository();
    let all = read_part(&made, "", &HistoryLimits::default()).expect("a history");
    assert_eq!(
        shown(&all),
        [
            "Merge side: ",
            "Drop the readme: README.md +0 -1",
            "Add b: src/deep/b.rs +1 -0",
            "Change a: src/a.rs +2 -1",
            "Begin: README.md +1 -0, src/a.rs +2 -0",
        ]
    );
    assert!(all.history.complete && all.history.commits[0].merge);
    let newest = &all.history.commits[1];
    assert_eq!(
        (newest.author.as_str(), newest.time, newest.id.len()),
        ("Ada", 1_700_345_600, 40)
    );
    assert_eq!((all.churn["src/a.rs"], all.churn["README.md"]), (2, 2));
}

#[test]
fn a_part_of_a_repository_has_its_own_history() {
    let made = repository();
    let part = read_part(&made, "src", &HistoryLimits::default()).expect("a history");
    assert_eq!(
        shown(&part),
        ["Add b: deep/b.rs +1 -0", "Change a: a.rs +2 -1", "Begin: a.rs +2 -0"]
    );
    let deep = read_part(&made, "src/deep", &HistoryLimits::default()).expect("a history");
    assert_eq!(shown(&deep), ["Add b: b.rs +1 -0"]);
}

#[test]
fn every_limit_cuts_and_says_so() {
    let made = repository();
    let limits = HistoryLimits::default();
    for (name, limits, commits) in [
        (
            "commits",
            HistoryLimits {
                commits_max: 2,
                ..limits
            },
            2,
        ),
        (
            "walked",
            HistoryLimits {
                walked_max: 3,
                ..limits
            },
            3,
        ),
        (
            "bytes",
            HistoryLimits {
                bytes_max: 200,
                ..limits
            },
            1,
        ),
        (
            "entries",
            HistoryLimits {
                entries_max: 3,
                ..limits
            },
            1,
        ),
    ] {
        let read = read_part(&made, "", &limits).expect("a history");
        assert_eq!(
            (read.history.commits.len(), read.history.complete),
            (commits, false),
            "{name}"
        );
    }
    let read = read_part(
        &made,
        "",
        &HistoryLimits {
            content_bytes_max: 0,
            ..limits
        },
    )
    .expect("a history");
    assert_eq!(shown(&read)[3], "Change a: src/a.rs");
    let read = read_part(&made, "", &HistoryLimits { files_max: 1, ..limits }).expect("a history");
    assert_eq!(
        (read.history.commits[4].files.len(), read.history.commits[4].omitted),
        (1, 1)
    );
    assert_eq!(read.churn["src/a.rs"], 2);
}

#[test]
fn odd_content_is_named_and_not_counted() {
    let mut made = Made::new();
    fs::write(made.dir.path().join("image.bin"), [1, 0, 2]).expect("written");
    fs::write(made.dir.path().join("bad\nname"), "x").expect("written");
    std::os::unix::fs::symlink("/etc", made.dir.path().join("link")).expect("linked");
    made.commit("Odd\u{7} ones", &[("large.txt", &"x\n".repeat(200_000))]);
    made.commit("Nothing", &[]);
    let read = read_part(&made, "", &HistoryLimits::default()).expect("a history");
    assert_eq!(shown(&read), ["Nothing: ", "Odd  ones: image.bin, large.txt"]);
}

#[test]
fn a_damaged_repository_costs_the_history_and_nothing_else() {
    let empty = Made::new();
    empty.write(&[("a.rs", "x")]);
    assert!(read_part(&empty, "", &HistoryLimits::default()).is_none());
    assert_eq!(
        pack(empty.dir.path(), &PackLimits::default()).expect("packed").history,
        None
    );

    let made = repository();
    let objects = made.dir.path().join(".git/objects");
    let loose: Vec<_> = fs::read_dir(&objects)
        .expect("listed")
        .flatten()
        .filter(|entry| entry.file_name().len() == 2)
        .flat_map(|entry| fs::read_dir(entry.path()).expect("listed").flatten())
        .map(|entry| entry.path())
        .collect();
    assert!(loose.len() > 10);
    // Each object once: cut short, then filled with something else, then gone.
    for path in &loose {
        let content = fs::read(path).expect("read");
        fs::remove_file(path).expect("removed");
        for damaged in [
            Some(&content[..content.len() / 2]),
            Some(&b"\x78\x9cnonsense"[..]),
            None,
        ] {
            if let Some(damaged) = damaged {
                fs::write(path, damaged).expect("written");
            }
            let packed = pack(made.dir.path(), &PackLimits::default()).expect("packed all the same");
            assert!(packed.history.is_none_or(|history| history.commits.len() <= 5));
            let _ = fs::remove_file(path);
        }
        fs::write(path, &content).expect("written");
    }
    let shallow = repository();
    fs::write(shallow.dir.path().join(".git/shallow"), "nonsense").expect("written");
    pack(shallow.dir.path(), &PackLimits::default()).expect("packed all the same");
}

#[test]
fn a_history_travels_in_the_archive_and_fills_the_churn() {
    let mut made = repository();
    let limits = PackLimits::default();
    let first = pack(made.dir.path(), &limits).expect("packed");
    assert_eq!(first.bytes, pack(made.dir.path(), &limits).expect("packed").bytes);
    let churn = |path: &str| first.manifest.get(path).map(|file| file.churn);
    assert_eq!((churn("src/a.rs"), churn("src/deep/b.rs")), (Some(2), Some(1)));
    let target = made.dir.path().join(".git/unpacked");
    let manifest = unpack(&first.bytes, &target, &UnpackLimits::default()).expect("unpacked");
    assert_eq!(manifest, first.manifest);
    assert!(!target.join(HISTORY_NAME).exists());
    assert_eq!(first.history.as_ref().map(|history| history.commits.len()), Some(5));
    made.commit("Change it again", &[("src/a.rs", "five\n")]);
    assert_ne!(first.digest, pack(made.dir.path(), &limits).expect("packed").digest);
}

#[test]
fn lines_are_counted_as_often_as_they_are_there() {
    for (before, after, expected) in [
        ("", "", (0, 0)),
        ("", "a\nb\n", (2, 0)),
        ("a\nb\n", "b\na\n", (0, 0)),
        ("a\na\n", "a\n", (0, 1)),
        ("a\nb", "a\nc\nc", (2, 1)),
    ] {
        assert_eq!(
            changed_lines(before.as_bytes(), after.as_bytes()),
            expected,
            "{before:?} {after:?}"
        );
    }
}

use proptest::prelude::*;

use super::*;

fn commit(id: &str, parents: &[&str], files: Vec<FilePatch>) -> PatchedCommit {
    PatchedCommit {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        files,
    }
}

/// The patches of a file's versions, the last of which is in the workspace only.
fn patches(versions: &[String]) -> Patches {
    let mut patches = Patches::default();
    for (at, version) in versions.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| versions[at].as_str());
        let patch = FilePatch::of("a", 0, before, Some(version));
        if at + 1 == versions.len() {
            patches.uncommitted.push(patch);
        } else {
            let parent = at.checked_sub(1).map(|at| at.to_string());
            let parents: Vec<&str> = parent.as_deref().into_iter().collect();
            patches
                .commits
                .insert(0, commit(&at.to_string(), &parents, vec![patch]));
        }
    }
    patches
}

proptest! {
    #[test]
    fn every_version_is_rebuilt_and_every_line_is_blamed_on_a_version_that_has_it(
        versions in prop::collection::vec(prop::collection::vec("[abc]{1,2}", 0..12), 2..8),
    ) {
        let versions: Vec<String> = versions.iter().map(|lines| lines.iter().map(|line| format!("{line}\n")).collect()).collect();
        let patches = patches(&versions);
        let now = versions.last().map(String::as_str);
        let line = patches.first_parents();
        prop_assert_eq!(line.len(), versions.len() - 1);
        for age in 0..line.len() {
            let text = patches.text_before("a", now, &line[..age]);
            prop_assert_eq!(text, Ok(Some(versions[versions.len() - 2 - age].clone())));
        }
        prop_assert_eq!(patches.text_before("a", now, &line), Ok(None));
        let lines = now.map(lines_of).unwrap_or_default();
        for (text, origin) in lines.iter().zip(patches.blame("a", lines.len())) {
            let version = match origin {
                Origin::Commit(at) => versions.len() - 2 - at,
                Origin::Uncommitted => versions.len() - 1,
                Origin::Older => return Err(TestCaseError::fail("the first commit is known")),
            };
            prop_assert!(lines_of(&versions[version]).contains(text));
        }
    }

    #[test]
    fn no_list_of_patches_panics_or_runs_for_ever(
        hunks in prop::collection::vec((0_usize..9, 0_usize..9, 0_usize..3, 0_usize..3), 0..5),
        parents in prop::collection::vec(prop::collection::vec(0_usize..4, 0..3), 0..4),
        change in 0..3,
        cut in any::<bool>(),
    ) {
        let hunks: Vec<Hunk> = hunks.into_iter().map(|(old, new, removed, added)| Hunk {
            old: if old == 8 { usize::MAX } else { old },
            new: if new == 8 { usize::MAX } else { new },
            removed: vec!["x".to_owned(); removed],
            added: vec!["y".to_owned(); added],
        }).collect();
        let patch = |parent: usize| FilePatch {
            path: "a".to_owned(),
            parent,
            change: [FileChange::Modified, FileChange::Added, FileChange::Removed][change as usize],
            hunks: hunks.clone(),
            cut,
        };
        let commits: Vec<PatchedCommit> = parents.iter().enumerate().map(|(at, parents)| {
            let parents: Vec<String> = parents.iter().map(usize::to_string).collect();
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            commit(&at.to_string(), &parents, vec![patch(0), patch(1)])
        }).collect();
        let patches = Patches { uncommitted: vec![patch(0)], commits };
        prop_assert_eq!(patches.blame("a", 6).len(), 6);
        let line = patches.first_parents();
        prop_assert!(line.len() <= patches.commits.len());
        let _ = patches.text_before("a", Some("y\ny\n"), &line);
    }
}

#[test]
fn a_change_whose_lines_were_left_out_ends_what_is_known() {
    let mut patches = patches(&[
        "a\n".to_owned(),
        "a\nb\n".to_owned(),
        "a\nb\nc\n".to_owned(),
        "a\nb\nc\n".to_owned(),
    ]);
    patches.commits[1].files[0].cut = true;
    patches.commits[1].files[0].hunks.clear();
    assert_eq!(patches.blame("a", 3), [Origin::Older, Origin::Older, Origin::Commit(0)]);
    assert_eq!(
        patches.text_before("a", Some("a\nb\nc\n"), &[0]),
        Ok(Some("a\nb\n".to_owned()))
    );
    assert_eq!(patches.text_before("a", Some("a\nb\nc\n"), &[0, 1]), Err(Unknown));
    // Where a file begins its lines begin, however many they are.
    patches.commits[1].files[0].change = FileChange::Added;
    assert_eq!(
        patches.blame("a", 3),
        [Origin::Commit(1), Origin::Commit(1), Origin::Commit(0)]
    );
}

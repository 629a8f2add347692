//! Partitions a workspace into scopes: disjoint, together covering every relevant file, even in bytes, and written as
//! real directories wherever a whole directory falls into one scope. It knows paths and sizes only.

use std::ops::Range;

use crate::view::{FileView, Material, WorkspaceView, holds};

/// A directory is taken apart when it is larger than this share of an even part.
const UNIT_SHARE: f64 = 0.4;
/// A directory with more files than this directly in it, and no directory, stays whole: a scope is read by people.
const FILES_LISTED_MAX: usize = 200;

/// Which files a partition has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relevance {
    /// Programs.
    Code,
    /// Programs and text for people.
    Text,
}

impl Relevance {
    pub(crate) fn includes(self, file: &FileView) -> bool {
        match file.material() {
            Material::Code => true,
            Material::Prose => self == Relevance::Text,
            Material::Data => false,
        }
    }
}

/// Up to `parts` scopes over the relevant files below `focus` (the whole workspace if empty). A path in `focus` that is
/// a file counts as relevant whatever it is made of; where nothing is relevant, everything is.
pub fn partition(view: &WorkspaceView, parts: usize, focus: &[String], relevance: Relevance) -> Vec<Vec<String>> {
    let focus = outermost(focus);
    let files = relevant(view, &focus, relevance);
    if parts == 0 || files.covered.is_empty() {
        return Vec::new();
    }
    if parts == 1 && !focus.is_empty() {
        return vec![focus];
    }
    let total: u64 = files.covered.iter().map(|file| weight(file)).sum();
    let unit_max = (total as f64 / parts as f64 * UNIT_SHARE) as u64;
    let mut units = Vec::new();
    take_apart(&files.covered, 0..files.covered.len(), 0, unit_max, &mut units);

    let mut bins: Vec<Option<Range<usize>>> = vec![None; parts];
    let mut before = 0_u64;
    for unit in units {
        let size: u64 = files.covered[unit.clone()].iter().map(|file| weight(file)).sum();
        let middle = u128::from(before) + u128::from(size / 2);
        let bin = (middle * parts as u128 / u128::from(total.max(1))) as usize;
        let slot = &mut bins[bin.min(parts - 1)];
        let start = slot.as_ref().map_or(unit.start, |range| range.start);
        *slot = Some(start..unit.end);
        before += size;
    }
    bins.into_iter()
        .flatten()
        .map(|range| scope_of(&files.covered[range], &files.universe))
        .collect()
}

/// Bytes of the relevant files below `focus`, and how many they are.
pub fn extent(view: &WorkspaceView, focus: &[String], relevance: Relevance) -> (usize, u64) {
    let covered = relevant(view, &outermost(focus), relevance).covered;
    (covered.len(), covered.iter().map(|file| file.bytes).sum())
}

/// Whether two scopes share a path. The empty scope is the whole workspace.
pub fn overlap(a: &[String], b: &[String]) -> bool {
    if a.is_empty() || b.is_empty() {
        return true;
    }
    a.iter()
        .any(|left| b.iter().any(|right| holds(left, right) || holds(right, left)))
}

/// The relevant files below `focus` (the whole workspace if empty) that are not below `minus`, as directories where these are
/// whole.
pub(crate) fn without(view: &WorkspaceView, focus: &[String], minus: &[String], relevance: Relevance) -> Vec<String> {
    let files = relevant(view, &outermost(focus), relevance);
    let kept: Vec<&FileView> = files
        .covered
        .iter()
        .copied()
        .filter(|file| !minus.iter().any(|path| holds(path, &file.path)))
        .collect();
    scope_of(&kept, &files.universe)
}

struct Files<'a> {
    /// What the scopes must cover, by path.
    covered: Vec<&'a FileView>,
    /// What decides whether a directory is whole, by path.
    universe: Vec<&'a FileView>,
}

fn relevant<'a>(view: &'a WorkspaceView, focus: &[String], relevance: Relevance) -> Files<'a> {
    let in_focus = |file: &FileView| focus.is_empty() || focus.iter().any(|path| holds(path, &file.path));
    let wanted = |file: &FileView| relevance.includes(file) || focus.contains(&file.path);
    let select = |wanted: &dyn Fn(&FileView) -> bool| {
        let mut universe: Vec<&FileView> = view.files.iter().filter(|file| wanted(file)).collect();
        universe.sort_by(|a, b| a.path.cmp(&b.path));
        let covered = universe.iter().copied().filter(|file| in_focus(file)).collect();
        Files { covered, universe }
    };
    let files = select(&wanted);
    if files.covered.is_empty() {
        return select(&|_| true);
    }
    files
}

/// The paths without those below another of them, each once.
pub(crate) fn outermost(paths: &[String]) -> Vec<String> {
    let mut outer: Vec<String> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let inside = |(other_index, other): (usize, &String)| {
            other_index != index && holds(other, path) && (other != path || other_index < index)
        };
        if !paths.iter().enumerate().any(inside) {
            outer.push(path.clone());
        }
    }
    outer
}

/// An empty file still has to be looked at.
fn weight(file: &FileView) -> u64 {
    file.bytes.max(1)
}

/// Splits a range of sorted files that share a directory of `depth` bytes into units no larger than `unit_max`, as far
/// as directories and files allow.
fn take_apart(files: &[&FileView], range: Range<usize>, depth: usize, unit_max: u64, units: &mut Vec<Range<usize>>) {
    let size: u64 = files[range.clone()].iter().map(|file| weight(file)).sum();
    let flat = files[range.clone()]
        .iter()
        .all(|file| !file.path[depth..].contains('/'));
    let too_many = flat && depth > 0 && range.len() > FILES_LISTED_MAX;
    if range.len() == 1 || (depth > 0 && size <= unit_max) || too_many {
        units.push(range);
        return;
    }
    let mut start = range.start;
    while start < range.end {
        let rest = &files[start].path[depth..];
        let Some(slash) = rest.find('/') else {
            units.push(start..start + 1);
            start += 1;
            continue;
        };
        let prefix = &files[start].path[..=depth + slash];
        let count = files[start..range.end]
            .iter()
            .take_while(|file| file.path.starts_with(prefix))
            .count();
        take_apart(files, start..start + count, prefix.len(), unit_max, units);
        start += count;
    }
}

/// Writes files as the outermost directories that hold no other file of the universe, and as single files otherwise.
fn scope_of(files: &[&FileView], universe: &[&FileView]) -> Vec<String> {
    let below = |list: &[&FileView], prefix: &str| {
        let start = list.partition_point(|file| file.path.as_str() < prefix);
        list[start..]
            .iter()
            .take_while(|file| file.path.starts_with(prefix))
            .count()
    };
    let mut scope = Vec::new();
    let mut index = 0;
    while index < files.len() {
        let path = &files[index].path;
        let whole = path.match_indices('/').map(|(at, _)| &path[..=at]).find_map(|prefix| {
            let count = below(files, prefix);
            (count == below(universe, prefix)).then_some((prefix, count))
        });
        match whole {
            Some((prefix, count)) => {
                scope.push(prefix.trim_end_matches('/').to_owned());
                index += count;
            }
            None => {
                scope.push(path.clone());
                index += 1;
            }
        }
    }
    scope
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::view::samples::{repository, view};

    fn check(files: &[(&str, u64)], parts: usize, focus: &[&str], expected: &[&[&str]]) {
        let focus: Vec<String> = focus.iter().map(|path| (*path).to_owned()).collect();
        let scopes = partition(&view(files), parts, &focus, Relevance::Code);
        assert_eq!(scopes, expected, "{parts} parts of {files:?} below {focus:?}");
    }

    #[test]
    fn scopes_are_whole_directories_where_that_is_even() {
        let files = [
            ("a/x.rs", 100),
            ("a/y.rs", 100),
            ("b/x.rs", 100),
            ("b/y.rs", 100),
            ("b/note.json", 9_999),
        ];
        check(&files, 2, &[], &[&["a"], &["b"]]);
        check(&files, 1, &[], &[&["a", "b"]]);
        check(&files, 4, &[], &[&["a/x.rs"], &["a/y.rs"], &["b/x.rs"], &["b/y.rs"]]);
        check(&files, 2, &["a"], &[&["a/x.rs"], &["a/y.rs"]]);
        check(&files, 1, &["a/x.rs"], &[&["a/x.rs"]]);
        check(&files, 1, &["a/x.rs", "a", "a"], &[&["a"]]);
        check(&files, 1, &["b/note.json"], &[&["b/note.json"]]);
        check(&files, 0, &[], &[]);
        check(&files, 3, &["nowhere"], &[]);
    }

    #[test]
    fn a_directory_much_larger_than_its_share_is_taken_apart() {
        let files = [
            ("big/one/a.rs", 300),
            ("big/two/b.rs", 300),
            ("small/c.rs", 300),
            ("top.rs", 300),
        ];
        check(&files, 2, &[], &[&["big"], &["small", "top.rs"]]);
        check(&files, 4, &[], &[&["big/one"], &["big/two"], &["small"], &["top.rs"]]);
    }

    #[test]
    fn names_with_a_common_beginning_are_not_one_directory() {
        let files = [("a-b/x.rs", 10), ("a/x.rs", 10), ("a.rs", 10)];
        check(&files, 3, &[], &[&["a-b"], &["a.rs"], &["a"]]);
    }

    #[test]
    fn a_workspace_without_programs_is_partitioned_all_the_same() {
        check(&[("x.json", 5), ("y.json", 5)], 2, &[], &[&["x.json"], &["y.json"]]);
    }

    #[test]
    fn a_repository_is_split_at_its_crates() {
        let scopes = partition(&repository(), 4, &[], Relevance::Code);
        assert_eq!(scopes.len(), 4);
        let named: Vec<&str> = scopes.iter().flatten().map(String::as_str).collect();
        assert!(named.contains(&"crates/bus") && named.contains(&"tests"), "{named:?}");
        assert!(named.iter().all(|path| !path.is_empty()), "{named:?}");
    }

    #[test]
    fn overlap_is_by_path_components() {
        for (a, b, expected) in [
            (&["src"][..], &["src/a.rs"][..], true),
            (&["src/a.rs"], &["src"], true),
            (&["src"], &["srcs"], false),
            (&["a", "b"], &["c", "b/d"], true),
            (&[], &["a"], true),
            (&["a"], &["b"], false),
        ] {
            let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
            assert_eq!(overlap(&own(a), &own(b)), expected, "{a:?} {b:?}");
        }
    }

    fn any_files() -> impl Strategy<Value = Vec<(String, u64)>> {
        let name = prop::sample::select(vec!["a", "b", "c", "a-b", "lib", "src"]);
        let directories = prop::collection::vec(name.clone(), 0..4);
        let extension = prop::sample::select(vec!["rs", "md", "json"]);
        let path = (directories, name, extension).prop_map(|(mut parts, name, extension)| {
            let file = format!("{name}.{extension}");
            parts.push(&file);
            parts.join("/")
        });
        prop::collection::btree_map(path, 0_u64..50_000, 1..60).prop_map(|files| files.into_iter().collect())
    }

    proptest! {
        #[test]
        fn scopes_are_disjoint_and_cover_everything_relevant(files in any_files(), parts in 1_usize..12, focused in any::<bool>()) {
            let view = view(&files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect::<Vec<_>>());
            let focus: Vec<String> = match files.iter().find_map(|(path, _)| path.split_once('/')) {
                Some((directory, _)) if focused => vec![directory.to_owned()],
                _ => Vec::new(),
            };
            let scopes = partition(&view, parts, &focus, Relevance::Code);
            prop_assert!(!scopes.is_empty() && scopes.len() <= parts);
            for (index, scope) in scopes.iter().enumerate() {
                prop_assert!(!scope.is_empty());
                prop_assert!(scopes[index + 1..].iter().all(|other| !overlap(scope, other)), "{scopes:?}");
                for path in scope {
                    prop_assert!(view.files.iter().any(|file| holds(path, &file.path)), "{path} is nowhere");
                    prop_assert!(focus.is_empty() || focus.iter().any(|outer| holds(outer, path)), "{path} out of focus");
                }
            }
            for file in relevant(&view, &focus, Relevance::Code).covered {
                let holders = scopes.iter().flatten().filter(|path| holds(path, &file.path)).count();
                prop_assert_eq!(holders, 1, "{} in {:?}", &file.path, &scopes);
            }
        }

        #[test]
        fn scopes_are_even_where_files_are_small(count in 40_usize..120, parts in 2_usize..8) {
            let files: Vec<(String, u64)> = (0..count).map(|index| (format!("d{}/f{index}.rs", index % 7), 100)).collect();
            let view = view(&files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect::<Vec<_>>());
            let scopes = partition(&view, parts, &[], Relevance::Code);
            prop_assert_eq!(scopes.len(), parts);
            let share = count as f64 * 100.0 / parts as f64;
            for scope in &scopes {
                let (_, bytes) = extent(&view, scope, Relevance::Code);
                prop_assert!((bytes as f64 - share).abs() <= share * UNIT_SHARE + 200.0, "{bytes} of {share}");
            }
        }
    }
}

//! The files a call may look at: those of the task's scope, narrowed by the call's own paths. Nothing outside of the scope
//! is ever opened.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::source::Source;
use super::syntax::syntax_of;
use crate::{CallContext, FileEntry, FileText, OUTPUT_BYTES_MAX, ToolError, Workspace, in_scope};

/// Most bytes of JSON of the list a tool returns; the rest of its output is small.
pub const LIST_BYTES_MAX: usize = OUTPUT_BYTES_MAX / 2;
/// Bytes of text whose trees are kept for the next call; a tree takes about ten times as much.
const PARSED_BYTES_MAX: usize = 8 << 20;
/// Files a tool names as skipped.
pub const SKIPPED_MAX: usize = 20;

/// The files a call may look at.
#[derive(Debug, Clone)]
pub struct Files {
    workspace: Arc<Workspace>,
    scope: Arc<[String]>,
    selected: Vec<String>,
    cancel: CancellationToken,
}

impl Files {
    /// The files of the scope below `paths`, or all of them if there are none. A path without a file in the scope is
    /// refused, so that a typing error does not look like a clean result.
    pub fn open(context: &CallContext, paths: &[String]) -> Result<Self, ToolError> {
        let workspace = Arc::clone(context.require_workspace()?);
        let mut selected = Vec::new();
        for path in paths
            .iter()
            .filter(|path| !matches!(path.trim_end_matches('/'), "" | "."))
        {
            let path = Workspace::normalize(path).map_err(|error| ToolError::invalid_params(error.to_string()))?;
            let one = [path];
            if !workspace
                .files_in(&one)
                .iter()
                .any(|file| in_scope(&file.path, &context.scope))
            {
                let [path] = one;
                let hint = if workspace.files_in(std::slice::from_ref(&path)).is_empty() {
                    "the workspace has no such file or directory"
                } else {
                    "it is outside of the task's scope"
                };
                return Err(ToolError::invalid_params(format!(
                    "cannot look at `{path}`: {hint}; `code.list` shows what is there"
                )));
            }
            selected.extend(one);
        }
        if paths.len() > selected.len() {
            // One of the paths was the root, which holds all the others.
            selected.clear();
        }
        Ok(Self {
            workspace,
            scope: Arc::clone(&context.scope),
            selected,
            cancel: context.cancel.clone(),
        })
    }

    /// The same files, for work that ends when the token is cancelled.
    pub fn until(mut self, cancel: &CancellationToken) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// The workspace.
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// The scope and the call's own paths; two calls of equal keys look at the same files.
    pub fn key(&self) -> (Vec<String>, Vec<String>) {
        (self.scope.to_vec(), self.selected.clone())
    }

    /// The files the call asks for, sorted by path.
    pub fn selected(&self) -> Vec<&FileEntry> {
        self.in_scope().filter(|file| self.is_selected(&file.path)).collect()
    }

    /// Whether the call asks for a file of the scope.
    pub fn is_selected(&self, path: &str) -> bool {
        in_scope(path, &self.selected)
    }

    fn in_scope(&self) -> impl Iterator<Item = &FileEntry> {
        self.workspace.files_in(&self.scope).into_iter()
    }

    /// The text of a file of the scope.
    pub fn text(&self, path: &str) -> Result<Arc<FileText>, ToolError> {
        if !in_scope(path, &self.scope) {
            return Err(ToolError::invalid_params(format!(
                "`{path}` is outside of the task's scope"
            )));
        }
        self.workspace
            .text(path)
            .map_err(|error| ToolError::permanent(error.to_string()))
    }

    /// The error to return as soon as nobody wants the result any more.
    pub fn check_cancelled(&self) -> Result<(), ToolError> {
        if self.cancel.is_cancelled() {
            Err(ToolError::cancelled())
        } else {
            Ok(())
        }
    }

    /// A file of the scope, parsed; `None` where there is no grammar for it or it cannot be read.
    pub fn source(&self, path: &str) -> Option<Arc<Source>> {
        syntax_of(path)?;
        let Ok(cache) = self.workspace.memo(|_| Ok::<_, Infallible>(Parsed::default()));
        if let Some(source) = cache.get(path) {
            return Some(source);
        }
        let text = self.text(path).ok()?;
        let source = Arc::new(Source::parse(path, Arc::from(text.as_str()))?);
        cache.insert(Arc::clone(&source));
        Some(source)
    }

    /// Hands every file of the scope that has a grammar to `visit`, in order, and names the ones that cannot be parsed.
    pub fn each_source(&self, skipped: &mut Vec<String>, mut visit: impl FnMut(&Source)) -> Result<(), ToolError> {
        for file in self.in_scope().filter(|file| syntax_of(&file.path).is_some()) {
            self.check_cancelled()?;
            match self.source(&file.path) {
                Some(source) => visit(&source),
                None if skipped.len() < SKIPPED_MAX => skipped.push(file.path.clone()),
                None => {}
            }
        }
        Ok(())
    }
}

/// Trees of files that were parsed before.
#[derive(Debug, Default)]
struct Parsed(Mutex<(HashMap<String, Arc<Source>>, usize)>);

impl Parsed {
    fn get(&self, path: &str) -> Option<Arc<Source>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .get(path)
            .cloned()
    }

    fn insert(&self, source: Arc<Source>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1 + source.text.len() <= PARSED_BYTES_MAX {
            kept.1 += source.text.len();
            if let Some(old) = kept.0.insert(source.path.clone(), source) {
                kept.1 -= old.text.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::testing::workspace;

    fn open(scope: &[&str], paths: &[&str]) -> Result<Vec<String>, String> {
        let (workspace, _dir) = workspace(&[("a/x.rs", "fn x() {}"), ("a/y.md", "y"), ("b/z.py", "z = 1")]);
        let mut context = CallContext::new(Some(workspace));
        context.scope = scope.iter().map(|s| (*s).to_owned()).collect();
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        let files = Files::open(&context, &paths).map_err(|error| error.message)?;
        Ok(files.selected().iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn a_call_sees_its_paths_within_the_scope() {
        for (scope, paths, seen) in [
            (&[][..], &[][..], &["a/x.rs", "a/y.md", "b/z.py"][..]),
            (&["a"], &[], &["a/x.rs", "a/y.md"]),
            (&["a"], &["."], &["a/x.rs", "a/y.md"]),
            (&["a"], &["a/x.rs"], &["a/x.rs"]),
            (&["a/x.rs"], &["a"], &["a/x.rs"]),
            (&[], &["b", "a/y.md"], &["a/y.md", "b/z.py"]),
        ] {
            assert_eq!(open(scope, paths).expect("opens"), seen, "{scope:?} {paths:?}");
        }
    }

    #[test]
    fn what_is_not_there_or_outside_is_refused() {
        for (scope, paths, expected) in [
            (&["a"][..], &["b"][..], "outside of the task's scope"),
            (&[], &["c"], "no such file"),
            (&[], &["../b"], "no path of the workspace"),
        ] {
            let error = open(scope, paths).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_parsed_file_is_kept() {
        let (workspace, _dir) = workspace(&[("a.rs", "fn x() {}"), ("b.txt", "text")]);
        let files = Files::open(&CallContext::new(Some(workspace)), &[]).expect("opens");
        let first = files.source("a.rs").expect("parses");
        assert!(Arc::ptr_eq(&first, &files.source("a.rs").expect("kept")));
        assert!(files.source("b.txt").is_none());
    }
}

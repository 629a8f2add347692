//! Checks evidence against the workspace it cites, and makes evidence that holds. It believes nothing it has not read.

use std::sync::Arc;

use axon_protocol::Evidence;

use crate::{FileText, Workspace, WorkspaceError};

/// Most lines that [`cite`] quotes.
pub const QUOTE_LINES_MAX: u32 = 12;

/// Why evidence does not hold.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file cannot be read.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A path that is spelled in another way than the manifest spells it.
    #[error("`{0}` is not how the workspace spells that path")]
    Spelling(String),
    /// Lines that the file does not have.
    #[error("`{path}` has {lines} lines, the evidence cites {first} to {last}")]
    Lines {
        /// The file.
        path: String,
        /// How many lines it has.
        lines: u32,
        /// First line cited.
        first: u32,
        /// Last line cited.
        last: u32,
    },
    /// Another file than the one cited.
    #[error("`{path}` is not the file that was cited: its digest differs")]
    Digest {
        /// The file.
        path: String,
    },
    /// Another state of the workspace than the one cited.
    #[error("the evidence cites revision {cited}, the workspace is at {actual}")]
    Revision {
        /// The revision cited.
        cited: String,
        /// The workspace's.
        actual: String,
    },
    /// Other words than those of the file.
    #[error("the quote is not what `{path}` says from line {line} on")]
    Quote {
        /// The file.
        path: String,
        /// First line cited.
        line: u32,
    },
    /// Words that say nothing.
    #[error("the evidence at {0} quotes nothing")]
    Empty(String),
    /// Not a web address.
    #[error("`{0}` is no address of a page: it must begin with http:// or https://")]
    Url(String),
}

/// Checks evidence. Of lines of a file everything is checked: the path, that the lines are there, the digest of the file,
/// the revision where both sides know theirs, and the quote word for word, whole lines of it from the first one on. Of a
/// page or a tool call only the form can be checked here.
pub fn verify(workspace: &Workspace, evidence: &Evidence) -> Result<(), EvidenceError> {
    if evidence.quote().trim().is_empty() {
        return Err(EvidenceError::Empty(evidence.location()));
    }
    let (path, line, end_line, quote, digest, revision) = match evidence {
        Evidence::Source {
            path,
            line,
            end_line,
            quote,
            digest,
            revision,
        } => (path, *line, *end_line, quote, digest, revision),
        Evidence::Url { url, .. } if url.starts_with("https://") || url.starts_with("http://") => return Ok(()),
        Evidence::Url { url, .. } => return Err(EvidenceError::Url(url.clone())),
        Evidence::ToolCall { .. } => return Ok(()),
    };
    // Findings about one file must have one path, or they would not be merged.
    if Workspace::normalize(path)? != *path {
        return Err(EvidenceError::Spelling(path.clone()));
    }
    if let (Some(cited), Some(actual)) = (revision, &workspace.manifest().revision)
        && cited != actual
    {
        return Err(EvidenceError::Revision {
            cited: cited.clone(),
            actual: actual.clone(),
        });
    }
    let text = workspace.text(path)?;
    if text.digest() != digest {
        return Err(EvidenceError::Digest { path: path.clone() });
    }
    let cited = lines(&text, path, line, end_line)?;
    let rest = cited.strip_prefix(quote.as_str());
    // The quote may stop early, but at the end of a line.
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\n') || rest.starts_with("\r\n")) {
        Ok(())
    } else {
        Err(EvidenceError::Quote {
            path: path.clone(),
            line,
        })
    }
}

/// Evidence of lines of a file, counted from 1. More than [`QUOTE_LINES_MAX`] lines are cut to their first ones, and the
/// last line cited with them.
pub fn cite(workspace: &Workspace, path: &str, first_line: u32, last_line: u32) -> Result<Evidence, EvidenceError> {
    let path = Workspace::normalize(path)?;
    let text = workspace.text(&path)?;
    lines(&text, &path, first_line, last_line)?;
    let end_line = last_line.min(first_line.saturating_add(QUOTE_LINES_MAX - 1));
    let quote = lines(&text, &path, first_line, end_line)?.to_owned();
    if quote.trim().is_empty() {
        return Err(EvidenceError::Empty(format!("{path}:{first_line}")));
    }
    Ok(Evidence::Source {
        path,
        line: first_line,
        end_line,
        quote,
        digest: text.digest().clone(),
        revision: workspace.manifest().revision.clone(),
    })
}

fn lines<'t>(text: &'t Arc<FileText>, path: &str, first: u32, last: u32) -> Result<&'t str, EvidenceError> {
    text.lines(first, last).ok_or_else(|| EvidenceError::Lines {
        path: path.to_owned(),
        lines: text.line_count(),
        first,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_protocol::Digest;
    use std::fs;

    const TEXT: &str = "fn main() {\r\n    body();\n}\n\n// the end";

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("src")).expect("made");
        fs::write(dir.path().join("src/main.rs"), TEXT).expect("written");
        let long: String = (1..=40).map(|number| format!("line {number}\n")).collect();
        fs::write(dir.path().join("long.txt"), long).expect("written");
        let workspace = Workspace::of_directory(dir.path()).expect("a workspace");
        (dir, workspace)
    }

    fn source(path: &str, line: u32, end_line: u32, quote: &str) -> Evidence {
        Evidence::Source {
            path: path.to_owned(),
            line,
            end_line,
            quote: quote.to_owned(),
            digest: Digest::of(TEXT.as_bytes()),
            revision: None,
        }
    }

    #[test]
    fn evidence_holds_only_word_for_word() {
        let (_dir, workspace) = workspace();
        let path = "src/main.rs";
        for (evidence, expected) in [
            (source(path, 1, 1, "fn main() {"), ""),
            (source(path, 1, 2, "fn main() {\r\n    body();"), ""),
            (source(path, 1, 3, "fn main() {\r\n    body();\n}"), ""),
            (source(path, 1, 3, "fn main() {"), ""),
            (source(path, 5, 5, "// the end"), ""),
            (source(path, 1, 1, "fn main()"), "quote"),
            (source(path, 1, 2, "fn main() {\n    body();"), "quote"),
            (source(path, 2, 2, "body();"), "quote"),
            (source(path, 2, 2, "fn main() {"), "quote"),
            (source(path, 1, 1, "fn main() {\r\n    body();"), "quote"),
            (source(path, 1, 1, ""), "quotes nothing"),
            (source(path, 4, 4, "  "), "quotes nothing"),
            (source(path, 0, 1, "fn main() {"), "5 lines"),
            (source(path, 2, 1, "fn main() {"), "5 lines"),
            (source(path, 5, 6, "// the end"), "5 lines"),
            (source("src/other.rs", 1, 1, "x"), "no file"),
            (source("./src/main.rs", 1, 1, "fn main() {"), "spells"),
            (source("../main.rs", 1, 1, "x"), "no path"),
            (source("src", 1, 1, "x"), "no file"),
            (source("long.txt", 1, 1, "line 1"), "digest"),
        ] {
            let message = verify(&workspace, &evidence)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(message.is_empty(), expected.is_empty(), "{evidence:?}: {message}");
            assert!(message.contains(expected), "{evidence:?}: {message}");
        }
    }

    #[test]
    fn a_page_and_a_tool_call_are_checked_in_form() {
        let (_dir, workspace) = workspace();
        let url = |url: &str, quote: &str| Evidence::Url {
            url: url.to_owned(),
            quote: quote.to_owned(),
        };
        assert!(verify(&workspace, &url("https://example.org/a", "word")).is_ok());
        assert!(matches!(
            verify(&workspace, &url("file:///etc/passwd", "word")),
            Err(EvidenceError::Url(_))
        ));
        assert!(matches!(
            verify(&workspace, &url("https://example.org/a", " ")),
            Err(EvidenceError::Empty(_))
        ));
    }

    #[test]
    fn what_is_cited_holds_and_is_short() {
        let (_dir, workspace) = workspace();
        for (path, first, last, end) in [
            ("long.txt", 1, 1, 1),
            ("long.txt", 5, 16, 16),
            ("long.txt", 5, 40, 16),
            ("./src/main.rs", 1, 5, 5),
        ] {
            let evidence = cite(&workspace, path, first, last).expect("cited");
            verify(&workspace, &evidence).expect("holds");
            let Evidence::Source {
                line, end_line, quote, ..
            } = evidence
            else {
                panic!("no source")
            };
            assert_eq!(
                (line, end_line, quote.lines().count()),
                (first, end, (end - first + 1) as usize),
                "{path}"
            );
        }
        assert!(matches!(
            cite(&workspace, "long.txt", 40, 41),
            Err(EvidenceError::Lines { .. })
        ));
        assert!(matches!(
            cite(&workspace, "src/main.rs", 4, 4),
            Err(EvidenceError::Empty(_))
        ));
    }

    #[test]
    fn another_revision_is_no_evidence() {
        let (_dir, mut workspace) = workspace();
        let mut evidence = cite(&workspace, "long.txt", 1, 2).expect("cited");
        workspace.set_revision("aaaa");
        verify(&workspace, &evidence).expect("evidence without a revision holds at any");
        if let Evidence::Source { revision, .. } = &mut evidence {
            *revision = Some("bbbb".to_owned());
        }
        assert!(matches!(
            verify(&workspace, &evidence),
            Err(EvidenceError::Revision { .. })
        ));
    }
}

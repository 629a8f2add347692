//! Tools that read code and prose: list, read, search, rank, outline, metrics, duplicates, dependencies, tests and rules.
//! All of them look at the scope of their call alone, change nothing, and give the same result for the same workspace and
//! parameters.

mod terms;

mod source;
mod syntax;

mod chunk;
mod files;

mod dependencies;
mod duplicates;
mod list;
mod locate;
mod metrics;
mod outline;
mod rank;
mod read;
mod rules;
mod search;
mod test_inventory;

use serde::Serialize;
use serde_json::Value;

use crate::{ToolError, Toolbox, ToolboxError};

pub use dependencies::{
    DependenciesParams, DependenciesResult, Dependency, DependencyFile, Ecosystem, Part, SeveralVersions,
};
pub use duplicates::{Duplicate, DuplicatePlace, DuplicatesParams, DuplicatesResult};
pub(crate) use files::{Files, LIST_BYTES_MAX};
pub use list::{ListParams, ListResult, ListedFile};
pub use locate::{LocateParams, LocateResult, Located, LocatedPiece, Signals, is_candidate};
pub(crate) use metrics::measure;
pub use metrics::{FunctionMetrics, MetricsParams, MetricsResult, Order, last_name};
pub use outline::{OutlineItem, OutlineParams, OutlineResult};
pub use rank::{RankParams, RankResult, Ranked, Unit};
pub use read::{ReadParams, ReadResult};
pub use rules::{RuleMatch, RulesParams, RulesResult};
pub use search::{Hit, SearchParams, SearchResult};
pub use source::{Role, role_of};
pub use syntax::ItemKind;
pub use terms::{is_empty_word, query_terms, split_identifier, stem, terms};
pub use test_inventory::{FoundTest, TestsOfLanguage, TestsParams, TestsResult, UntestedFile, UntestedFunction};

/// Adds all tools of this group.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    list::register(toolbox)?;
    locate::register(toolbox)?;
    read::register(toolbox)?;
    search::register(toolbox)?;
    rank::register(toolbox)?;
    outline::register(toolbox)?;
    metrics::register(toolbox)?;
    duplicates::register(toolbox)?;
    dependencies::register(toolbox)?;
    test_inventory::register(toolbox)?;
    rules::register(toolbox)
}

/// The text of a file with its comments and strings blanked out, byte for byte as long; none where no grammar tells them apart.
pub fn code_of(path: &str, text: &str) -> Option<String> {
    source::Source::parse(path, std::sync::Arc::from(text)).map(|source| source.code())
}

pub(crate) fn to_value(result: &impl Serialize) -> Result<Value, ToolError> {
    serde_json::to_value(result)
        .map_err(|error| ToolError::permanent(format!("the result cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod testing {
    //! A workspace of a few files, and a call of a tool on it.

    use std::sync::Arc;

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use crate::{CallContext, ToolError, Toolbox, Workspace};

    pub fn workspace(files: &[(&str, &str)]) -> (Arc<Workspace>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        (Arc::new(Workspace::of_directory(dir.path()).expect("a workspace")), dir)
    }

    pub async fn try_call(context: &CallContext, tool: &str, params: Value) -> Result<Value, ToolError> {
        let mut toolbox = Toolbox::new();
        super::register(&mut toolbox).expect("registers");
        toolbox.get(tool).expect("registered").call(context, params).await
    }

    pub async fn call<T: DeserializeOwned>(workspace: &Arc<Workspace>, tool: &str, params: Value) -> T {
        let context = CallContext::new(Some(Arc::clone(workspace)));
        let value = try_call(&context, tool, params).await.expect("works");
        assert!(crate::json_bytes(&value) <= crate::OUTPUT_BYTES_MAX);
        serde_json::from_value(value).expect("has its type")
    }
}

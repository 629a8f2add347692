//! Checks evidence against the workspace of the query, which is fetched only when there is something to check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::Bus;
use axon_protocol::{Evidence, ExecutionPlan, ObjectBucket, TaskResult};
use axon_tools::{EvidenceError, Workspace, WorkspaceCache, WorkspaceError, verify};
use tracing::warn;

use crate::Verification;

/// Kept free of the time until the deadline for merging and publishing, when a workspace is slow to come.
const RESERVE: Duration = Duration::from_secs(2);

/// What evidence is checked against.
#[derive(Clone)]
pub(crate) enum Check {
    /// No finding cites a file.
    Unneeded,
    /// The query has no workspace, so whoever cites one is wrong.
    NoWorkspace,
    /// It could not be had, for this reason.
    Unavailable(String),
    /// The files themselves.
    Workspace(Arc<Workspace>),
}

impl Check {
    pub async fn prepare(
        cache: &WorkspaceCache,
        bus: &Bus,
        plan: &ExecutionPlan,
        results: &[TaskResult],
        until: Instant,
    ) -> Self {
        let cites_files = results
            .iter()
            .flat_map(|result| &result.findings)
            .flat_map(|finding| &finding.evidence)
            .any(|evidence| matches!(evidence, Evidence::Source { .. }));
        if !cites_files {
            return Check::Unneeded;
        }
        let Some(digest) = &plan.workspace else {
            return Check::NoWorkspace;
        };
        let archives = bus.objects(ObjectBucket::Workspaces);
        let left = until.saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
        let opening = cache.open(digest, archives.get(digest));
        let reason = match tokio::time::timeout(left, opening).await {
            Ok(Ok(workspace)) => return Check::Workspace(workspace),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the workspace did not come in time".to_owned(),
        };
        warn!(query = %plan.query_id, reason, "evidence is not checked a second time");
        Check::Unavailable(reason)
    }

    /// Checks one piece of evidence. Reads files, so call it where blocking is allowed.
    pub fn verify(&self, evidence: &Evidence) -> Verification {
        match (self, evidence) {
            (Check::Workspace(workspace), _) => match verify(workspace, evidence) {
                Ok(()) => match evidence {
                    Evidence::Source { .. } => Verification::Holds,
                    Evidence::Url { .. } => Verification::Unchecked("a page is not fetched again".to_owned()),
                    Evidence::ToolCall { .. } => Verification::Unchecked("a tool is not called again".to_owned()),
                },
                Err(EvidenceError::Workspace(error @ WorkspaceError::Read { .. })) => {
                    Verification::Unchecked(error.to_string())
                }
                Err(error) => Verification::Fails(error.to_string()),
            },
            _ if evidence.quote().trim().is_empty() => Verification::Fails("it quotes nothing".to_owned()),
            (Check::NoWorkspace, Evidence::Source { .. }) => {
                Verification::Fails("the query has no workspace".to_owned())
            }
            (Check::Unavailable(reason), Evidence::Source { .. }) => Verification::Unchecked(reason.clone()),
            (_, Evidence::Url { .. }) => Verification::Unchecked("a page is not fetched again".to_owned()),
            (_, Evidence::ToolCall { .. }) => Verification::Unchecked("a tool is not called again".to_owned()),
            (Check::Unneeded, Evidence::Source { .. }) => {
                Verification::Unchecked("nothing was prepared for it".to_owned())
            }
        }
    }
}

//! Which findings of a query are new: no result before had them. Pure; two workers that say the same of the same place
//! say it once.

use std::collections::HashSet;

use axon_protocol::TaskResult;

/// Findings of one query that are remembered; what comes after them counts as new.
const REMEMBERED_MAX: usize = 20_000;

/// The findings that were heard.
#[derive(Debug, Default)]
pub(crate) struct Novelty(HashSet<String>);

/// What a result adds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Yield {
    /// Findings that nobody had reported.
    pub(crate) new_findings: usize,
    /// Confidence of the most certain finding, from 0 to 1.
    pub(crate) confidence: f64,
}

impl Novelty {
    /// Takes in a result.
    pub(crate) fn take(&mut self, result: &TaskResult) -> Yield {
        let mut gained = Yield::default();
        for finding in &result.findings {
            gained.confidence = gained.confidence.max(finding.confidence.clamp(0.0, 1.0));
            let place = finding
                .evidence
                .first()
                .map(|evidence| evidence.location())
                .unwrap_or_default();
            let words = finding
                .claim
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            let claim = words.map(str::to_lowercase).collect::<Vec<_>>().join(" ");
            let key = format!("{}\n{place}\n{claim}", finding.aspect);
            let full = self.0.len() >= REMEMBERED_MAX;
            gained.new_findings += usize::from(full || self.0.insert(key));
        }
        gained
    }
}

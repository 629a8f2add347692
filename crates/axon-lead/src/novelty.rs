//! Which findings of a query are new: no result before had them. Pure; two workers that say the same of the same place
//! say it once.

use std::collections::{BTreeMap, HashMap, HashSet};

use axon_protocol::{Answer, TaskResult};

/// Findings of one query that are remembered; what comes after them counts as new.
const REMEMBERED_MAX: usize = 20_000;

/// The findings that were heard.
#[derive(Debug, Default)]
pub(crate) struct Novelty {
    known: HashSet<String>,
    /// The tool behind each finding, by the finding's id.
    tools: HashMap<String, String>,
}

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
            let full = self.known.len() >= REMEMBERED_MAX;
            gained.new_findings += usize::from(full || self.known.insert(key));
            if !full && !finding.tool.is_empty() {
                self.tools.insert(finding.id.clone(), finding.tool.clone());
            }
        }
        gained
    }

    /// Kept findings of an answer by the tool that found them.
    pub(crate) fn tools_of(&self, answer: &Answer) -> BTreeMap<String, u64> {
        let mut tools = BTreeMap::new();
        for tool in answer.findings().filter_map(|finding| self.tools.get(&finding.id)) {
            *tools.entry(tool.clone()).or_default() += 1;
        }
        tools
    }
}

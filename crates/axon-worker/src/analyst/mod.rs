//! The analyst: investigates a workspace with tools and without a model. A playbook turns a task into a graph of calls,
//! chooses a second round from what the first one found, and writes findings whose evidence was read from the files.
//! It uses no tool, path, call or second beyond what the task allows, and the same task gives the same findings.

mod brief;
mod dependencies;
mod passage;
mod results;
mod run;
mod write;

mod bug_investigation;
mod code_generation;
mod code_review;
mod comparison;
mod general;
mod refactoring;
mod research;
mod testing;

pub use brief::{Brief, Frame, Lead};
pub use results::Results;
pub use run::{Investigation, Progress, investigate};

use axon_protocol::{Finding, ToolCall};
use axon_tools::Workspace;

/// Findings one task reports at most.
pub const FINDINGS_MAX: usize = 8;

/// What a playbook makes of the results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conclusion {
    /// What was found, most important first.
    pub findings: Vec<Finding>,
    /// What was looked at, and what could not be.
    pub notes: Vec<String>,
}

/// A way of working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Playbook {
    CodeReview,
    BugInvestigation,
    CodeGeneration,
    Refactoring,
    Testing,
    Comparison,
    Research,
    General,
}

impl Playbook {
    /// The way of working a delegation names; general for names nobody here knows.
    fn of(name: &str) -> Self {
        match name {
            "code_review" => Playbook::CodeReview,
            "bug_investigation" => Playbook::BugInvestigation,
            "code_generation" => Playbook::CodeGeneration,
            "refactoring" => Playbook::Refactoring,
            "testing" => Playbook::Testing,
            "comparison" => Playbook::Comparison,
            "research" => Playbook::Research,
            _ => Playbook::General,
        }
    }
}

/// The first round: what to look at before anything is known, most important first.
pub fn plan_calls(brief: &Brief) -> Vec<ToolCall> {
    match Playbook::of(&brief.playbook) {
        Playbook::CodeReview => code_review::plan(brief),
        Playbook::BugInvestigation => bug_investigation::plan(brief),
        Playbook::CodeGeneration => code_generation::plan(brief),
        Playbook::Refactoring => refactoring::plan(brief),
        Playbook::Testing => testing::plan(brief),
        Playbook::Comparison => comparison::plan(brief),
        Playbook::Research => research::plan(brief),
        Playbook::General => general::plan(brief),
    }
}

/// The second round: what to look at because of what the first one found, most important first.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    match Playbook::of(&brief.playbook) {
        Playbook::CodeReview => code_review::follow_up(brief, results),
        Playbook::BugInvestigation => bug_investigation::follow_up(brief, results),
        Playbook::CodeGeneration => code_generation::follow_up(brief, results),
        Playbook::Refactoring => refactoring::follow_up(brief, results),
        Playbook::Testing => testing::follow_up(brief, results),
        Playbook::Comparison => comparison::follow_up(brief, results),
        Playbook::Research => research::follow_up(brief, results),
        Playbook::General => general::follow_up(brief, results),
    }
}

/// The findings, each with evidence read from the workspace.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    match Playbook::of(&brief.playbook) {
        Playbook::CodeReview => code_review::conclude(brief, results, workspace),
        Playbook::BugInvestigation => bug_investigation::conclude(brief, results, workspace),
        Playbook::CodeGeneration => code_generation::conclude(brief, results, workspace),
        Playbook::Refactoring => refactoring::conclude(brief, results, workspace),
        Playbook::Testing => testing::conclude(brief, results, workspace),
        Playbook::Comparison => comparison::conclude(brief, results, workspace),
        Playbook::Research => research::conclude(brief, results, workspace),
        Playbook::General => general::conclude(brief, results, workspace),
    }
}

#[cfg(test)]
mod dependency_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod making_tests;
#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod tests;

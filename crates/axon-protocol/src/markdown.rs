//! The answer as text for people: first the answer, then why, then what is uncertain or missing, then figures.

use std::fmt::Write as _;

use crate::{Answer, AnswerStatus, Evidence, MergedFinding, OutputFormat};

/// Findings of one aspect that are written out; the structure holds them all.
const FINDINGS_SHOWN_MAX: usize = 12;
/// Recommendations that are written out.
const RECOMMENDATIONS_SHOWN_MAX: usize = 10;
/// Pieces of evidence written out for one finding.
const EVIDENCE_SHOWN_MAX: usize = 3;
/// Lines of a quote that are written out.
const QUOTE_LINES_MAX: usize = 6;

/// Writes an answer in the format its query asked for.
pub fn to_markdown(answer: &Answer, format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            let mut bare = answer.clone();
            bare.text = String::new();
            serde_json::to_string_pretty(&bare).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
        }
        OutputFormat::Brief => head(answer) + &recommendations(answer),
        OutputFormat::Table => {
            head(answer) + &table(answer) + &recommendations(answer) + &doubts(answer) + &figures(answer)
        }
        OutputFormat::Markdown => {
            head(answer) + &recommendations(answer) + &findings(answer) + &doubts(answer) + &figures(answer)
        }
    }
}

// Writing into a String cannot fail, so the results of `write!` below carry nothing.

fn head(answer: &Answer) -> String {
    let mut out = String::new();
    let title = answer.query.lines().next().unwrap_or_default();
    let _ = writeln!(out, "# {title}\n");
    match answer.status {
        AnswerStatus::Complete => {}
        AnswerStatus::Partial => out.push_str("**This answer is partial**: see what is missing below.\n\n"),
        AnswerStatus::Failed => out.push_str("**There is no answer.**\n\n"),
    }
    if let Some(error) = &answer.error {
        let _ = writeln!(out, "{error}\n");
    }
    if !answer.summary.is_empty() {
        let _ = writeln!(out, "{}\n", answer.summary.trim_end());
    }
    out
}

fn recommendations(answer: &Answer) -> String {
    let mut out = String::new();
    if answer.recommendations.is_empty() {
        return out;
    }
    out.push_str("## Recommendations\n\n");
    for (index, item) in answer
        .recommendations
        .iter()
        .take(RECOMMENDATIONS_SHOWN_MAX)
        .enumerate()
    {
        let _ = writeln!(
            out,
            "{}. **{}** (impact {}, effort {}, confidence {:.0} %)  \n   {}",
            index + 1,
            item.action,
            item.impact.as_str(),
            item.effort.as_str(),
            item.confidence * 100.0,
            item.rationale
        );
    }
    let rest = answer.recommendations.len().saturating_sub(RECOMMENDATIONS_SHOWN_MAX);
    if rest > 0 {
        let _ = writeln!(out, "\n{rest} more are in the JSON.");
    }
    out.push('\n');
    out
}

fn findings(answer: &Answer) -> String {
    let mut out = String::new();
    for aspect in answer.aspects.iter().filter(|aspect| !aspect.findings.is_empty()) {
        let _ = writeln!(out, "## {}\n", title(&aspect.aspect));
        for finding in aspect.findings.iter().take(FINDINGS_SHOWN_MAX) {
            out.push_str(&one_finding(finding));
        }
        let rest = aspect.findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
        if rest > 0 {
            let _ = writeln!(out, "- {rest} more are in the JSON.");
        }
        out.push('\n');
    }
    out
}

fn one_finding(finding: &MergedFinding) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "- **{}** ({}, confidence {:.0} %)",
        finding.claim.trim_end_matches('.'),
        finding.severity.as_str(),
        finding.confidence * 100.0
    );
    if !finding.rationale.is_empty() {
        let _ = writeln!(out, "  {}", finding.rationale);
    }
    for evidence in finding.evidence.iter().take(EVIDENCE_SHOWN_MAX) {
        let _ = writeln!(out, "  `{}`", evidence.location());
        if let Evidence::Source { quote, .. } = evidence {
            out.push_str("  ```\n");
            for line in quote.lines().take(QUOTE_LINES_MAX) {
                let _ = writeln!(out, "  {line}");
            }
            out.push_str("  ```\n");
        } else {
            let _ = writeln!(out, "  > {}", evidence.quote().lines().next().unwrap_or_default());
        }
    }
    let rest: Vec<String> = finding
        .evidence
        .iter()
        .skip(EVIDENCE_SHOWN_MAX)
        .map(Evidence::location)
        .take(8)
        .collect();
    if !rest.is_empty() {
        let _ = writeln!(out, "  also `{}`", rest.join("`, `"));
    }
    out
}

fn table(answer: &Answer) -> String {
    let mut out = String::from("| aspect | finding | severity | confidence | evidence |\n|---|---|---|---|---|\n");
    for aspect in &answer.aspects {
        for finding in &aspect.findings {
            let location = finding.evidence.first().map(Evidence::location).unwrap_or_default();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.0} % | `{location}` |",
                aspect.aspect,
                finding.claim.replace('|', "\\|").replace('\n', " "),
                finding.severity.as_str(),
                finding.confidence * 100.0
            );
        }
    }
    out.push('\n');
    out
}

fn doubts(answer: &Answer) -> String {
    let mut out = String::new();
    if !answer.conflicts.is_empty() {
        out.push_str("## Conflicts\n\n");
        for conflict in &answer.conflicts {
            let _ = writeln!(out, "- {}: {}", conflict.subject, conflict.explanation);
        }
        out.push('\n');
    }
    if !answer.missing.is_empty() {
        out.push_str("## Missing\n\n");
        for part in &answer.missing {
            let _ = writeln!(out, "- {} (`{}`): {}", title(&part.aspect), part.task_id, part.reason);
        }
        out.push('\n');
    }
    if !answer.notes.is_empty() {
        out.push_str("## Notes\n\n");
        for note in &answer.notes {
            let _ = writeln!(out, "- {note}");
        }
        out.push('\n');
    }
    out
}

fn figures(answer: &Answer) -> String {
    let mut out = String::new();
    if answer.tasks_delegated == 0 {
        return out;
    }
    out.push_str("## Figures\n\n");
    let _ = writeln!(
        out,
        "{} of {} tasks by {} workers in {:.2} s; {:.2} s of work, {:.0} % of the time saved; {} tool calls, {} tokens, {:.1} cents.",
        answer.tasks_completed,
        answer.tasks_delegated,
        answer.worker_count,
        answer.duration_ms / 1000.0,
        answer.sequential_ms / 1000.0,
        answer.time_reduction_percent,
        answer.usage.tool_calls,
        answer.usage.tokens,
        answer.usage.cents
    );
    if let Some(quality) = &answer.quality {
        let _ = writeln!(
            out,
            "\nQuality: completeness {:.2}, consistency {:.2}, coverage {:.2}, redundancy {:.2}, conflict resolution {:.2}, plan coverage {:.2}.",
            quality.completeness,
            quality.consistency,
            quality.coverage,
            quality.redundancy,
            quality.conflict_resolution,
            quality.plan_coverage
        );
    }
    let class = answer
        .complexity
        .map(|complexity| format!("{complexity}, "))
        .unwrap_or_default();
    let strategy = answer.strategy.as_deref().unwrap_or("none");
    let _ = writeln!(out, "\nQuery `{}`: {class}strategy {strategy}.", answer.query_id);
    out
}

fn title(aspect: &str) -> String {
    let spaced = aspect.replace(['_', '-'], " ");
    let mut chars = spaced.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + chars.as_str(),
        None => "Findings".to_owned(),
    }
}

//! The answer as text for people: first the answer, then why, then what is uncertain or missing, then figures.

use std::fmt::Write as _;

use crate::{Answer, AnswerStatus, Evidence, Level, MergedFinding, OutputFormat, QualityMetrics, counted};

/// Findings of one aspect that are written out; the structure holds them all.
const FINDINGS_SHOWN_MAX: usize = 12;
/// Recommendations that are written out.
const RECOMMENDATIONS_SHOWN_MAX: usize = 10;
/// Pieces of evidence written out for one finding.
const EVIDENCE_SHOWN_MAX: usize = 3;
/// Lines of a quote that are written out.
const QUOTE_LINES_MAX: usize = 6;
/// Characters of one line of a quote or of a cell that are written out.
const LINE_CHARS_MAX: usize = 160;
/// Words before its first number from which a claim says what others may say too.
const OPENING_WORDS_MIN: usize = 4;
/// Characters of the question that are written out.
const TITLE_CHARS_MAX: usize = 200;
/// Places named behind a finding whose evidence is not written out.
const PLACES_SHOWN_MAX: usize = 8;
/// Rows of a table.
const ROWS_SHOWN_MAX: usize = 60;
/// Outputs of tasks that are written out.
const OUTPUTS_SHOWN_MAX: usize = 12;
/// Missing parts that are written out.
const MISSING_SHOWN_MAX: usize = 12;

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
            head(answer)
                + &table(answer)
                + &recommendations(answer)
                + &outputs(answer)
                + &doubts(answer)
                + &figures(answer)
        }
        OutputFormat::Markdown => {
            head(answer)
                + &recommendations(answer)
                + &findings(answer)
                + &outputs(answer)
                + &doubts(answer)
                + &figures(answer)
        }
    }
}

// Writing into a String cannot fail, so the results of `write!` below carry nothing.

fn head(answer: &Answer) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n", clip(answer.query.trim(), TITLE_CHARS_MAX));
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
        let groups = alike(&aspect.findings);
        for group in groups.iter().take(FINDINGS_SHOWN_MAX) {
            out.push_str(&one_finding(group, dispute(answer, group[0])));
        }
        let rest: usize = groups.iter().skip(FINDINGS_SHOWN_MAX).map(Vec::len).sum();
        if rest > 0 {
            let _ = writeln!(out, "- {rest} more are in the JSON.");
        }
        out.push('\n');
    }
    out
}

/// Findings in their order, those that say the same of different parts put together: they warn of nothing, and their claims
/// differ from the first number on.
fn alike(findings: &[MergedFinding]) -> Vec<Vec<&MergedFinding>> {
    let mut groups: Vec<Vec<&MergedFinding>> = Vec::new();
    for finding in findings {
        let opening = opening(finding);
        let same = |group: &&mut Vec<&MergedFinding>| opening.is_some() && self::opening(group[0]) == opening;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}

/// What a claim that warns of nothing says before its first number.
fn opening(finding: &MergedFinding) -> Option<&str> {
    let number = finding.claim.find(|c: char| c.is_ascii_digit())?;
    let opening = &finding.claim[..number];
    let says_something = opening.split_whitespace().count() >= OPENING_WORDS_MIN;
    (finding.severity == Level::Info && opening.ends_with(' ') && says_something).then_some(opening)
}

/// What the conflicts say of a finding.
fn dispute(answer: &Answer, finding: &MergedFinding) -> &'static str {
    let Some(conflict) = answer
        .conflicts
        .iter()
        .find(|conflict| conflict.findings.contains(&finding.id))
    else {
        return "";
    };
    let stands = conflict.sides.first().is_some_and(|side| side.contains(&finding.id));
    match (&conflict.resolved_by, stands) {
        (None, _) => "; disputed, see Conflicts",
        (Some(_), true) => "",
        (Some(_), false) => "; outweighed, see Conflicts",
    }
}

/// The first of a group in full, of the others what they say of their parts.
fn one_finding(group: &[&MergedFinding], dispute: &str) -> String {
    let mut out = String::new();
    let finding = group[0];
    let origins = match finding.origins {
        0 | 1 => String::new(),
        many => format!(" from {many} origins"),
    };
    let _ = writeln!(
        out,
        "- **{}** ({}, confidence {:.0} %{origins}{dispute})",
        finding.claim.trim_end_matches('.'),
        finding.severity.as_str(),
        finding.confidence * 100.0
    );
    if !finding.rationale.is_empty() {
        let _ = writeln!(out, "  {}", finding.rationale);
    }
    if let (Some(opening), [_, others @ ..]) = (opening(finding), group)
        && !others.is_empty()
    {
        let parts: Vec<&str> = others
            .iter()
            .map(|other| other.claim[opening.len()..].trim_end_matches('.'))
            .collect();
        let _ = writeln!(out, "  The same goes for {}.", clip_line(&parts.join("; for ")));
    }
    for evidence in finding.evidence.iter().take(EVIDENCE_SHOWN_MAX) {
        let _ = writeln!(out, "  `{}`", evidence.location());
        match evidence {
            Evidence::Source { path, quote, .. } => out.push_str(&code(path, quote)),
            _ => {
                let _ = writeln!(out, "  > {}", clip(evidence.quote(), LINE_CHARS_MAX));
            }
        }
    }
    let rest: Vec<String> = finding
        .evidence
        .iter()
        .skip(EVIDENCE_SHOWN_MAX)
        .map(Evidence::location)
        .take(PLACES_SHOWN_MAX)
        .collect();
    if !rest.is_empty() {
        let more = (finding.evidence.len() - EVIDENCE_SHOWN_MAX).saturating_sub(rest.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let _ = writeln!(out, "  also `{}`{more}", rest.join("`, `"));
    }
    out
}

/// A quote as a block of code: without the indentation its lines share, and fenced by more ticks than it holds.
fn code(path: &str, quote: &str) -> String {
    let lines: Vec<&str> = quote.lines().collect();
    let indent = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or_default();
    let ticks = quote.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(ticks.max(2) + 1);
    let language = path.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let mut out = format!("  {fence}{language}\n");
    for line in lines.iter().take(QUOTE_LINES_MAX) {
        // What a line shares with all others is white space, but it may be cut inside a wider character.
        let _ = writeln!(out, "  {}", clip_line(line.get(indent..).unwrap_or(line.trim_start())));
    }
    if lines.len() > QUOTE_LINES_MAX {
        out.push_str("  …\n");
    }
    let _ = writeln!(out, "  {fence}");
    out
}

/// The first line of a text, with a mark where something is missing.
fn clip(text: &str, chars_max: usize) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    match first.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None if lines.next().is_some() => format!("{first} …"),
        None => first.to_owned(),
    }
}

fn clip_line(line: &str) -> String {
    clip(line, LINE_CHARS_MAX)
}

fn table(answer: &Answer) -> String {
    let count = answer.findings().count();
    if count == 0 {
        return String::new();
    }
    let mut out = String::from("| aspect | finding | severity | confidence | evidence |\n|---|---|---|---|---|\n");
    let rows = answer
        .aspects
        .iter()
        .flat_map(|aspect| aspect.findings.iter().map(move |finding| (aspect, finding)));
    for (aspect, finding) in rows.take(ROWS_SHOWN_MAX) {
        let location = finding.evidence.first().map(Evidence::location).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} % | `{location}` |",
            title(&aspect.aspect),
            clip_line(&finding.claim).replace('|', "\\|"),
            finding.severity.as_str(),
            finding.confidence * 100.0
        );
    }
    if count > ROWS_SHOWN_MAX {
        let _ = writeln!(out, "\n{} more are in the JSON.", count - ROWS_SHOWN_MAX);
    }
    out.push('\n');
    out
}

fn outputs(answer: &Answer) -> String {
    let mut out = String::new();
    let Some(outputs) = answer.outputs.as_object().filter(|outputs| !outputs.is_empty()) else {
        return out;
    };
    out.push_str("## Outputs\n\n");
    for (task, output) in outputs.iter().take(OUTPUTS_SHOWN_MAX) {
        let _ = writeln!(out, "- `{task}`: {}", clip_line(&output.to_string()));
    }
    if outputs.len() > OUTPUTS_SHOWN_MAX {
        let _ = writeln!(out, "- {} more are in the JSON.", outputs.len() - OUTPUTS_SHOWN_MAX);
    }
    out.push('\n');
    out
}

fn doubts(answer: &Answer) -> String {
    let mut out = String::new();
    if !answer.conflicts.is_empty() {
        out.push_str("## Conflicts\n\n");
        for conflict in &answer.conflicts {
            let settled = if conflict.resolved_by.is_some() {
                "outweighed"
            } else {
                "open"
            };
            let _ = writeln!(out, "- {} ({settled}): {}", conflict.subject, conflict.explanation);
        }
        out.push('\n');
    }
    if !answer.missing.is_empty() {
        out.push_str("## Missing\n\n");
        for part in answer.missing.iter().take(MISSING_SHOWN_MAX) {
            let _ = match part.aspect.as_str() {
                "" => writeln!(out, "- `{}`: {}", part.task_id, part.reason),
                aspect => writeln!(out, "- {} (`{}`): {}", title(aspect), part.task_id, part.reason),
            };
        }
        let rest = answer.missing.len().saturating_sub(MISSING_SHOWN_MAX);
        if rest > 0 {
            let _ = writeln!(out, "- {rest} more are in the JSON.");
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
        "{} of {} by {} in {:.2} s; {:.2} s of work, {:.0} % of the time saved; {}{}.",
        answer.tasks_completed,
        counted(answer.tasks_delegated, "task"),
        counted(answer.worker_count, "worker"),
        answer.duration_ms / 1000.0,
        answer.sequential_ms / 1000.0,
        answer.time_reduction_percent,
        counted(
            usize::try_from(answer.usage.tool_calls).unwrap_or(usize::MAX),
            "tool call"
        ),
        if answer.usage.tokens == 0 && answer.usage.cents == 0.0 {
            String::new()
        } else {
            format!(", {} tokens, {:.1} cents", answer.usage.tokens, answer.usage.cents)
        }
    );
    if let Some(quality) = &answer.quality {
        out.push_str(&measures(answer, quality));
    }
    let class = answer
        .complexity
        .map(|complexity| format!("{complexity}, "))
        .unwrap_or_default();
    let strategy = answer.strategy.as_deref().unwrap_or("none");
    let _ = writeln!(out, "\nQuery `{}`: {class}strategy {strategy}.", answer.query_id);
    out
}

/// Without findings the measures of findings say nothing.
fn measures(answer: &Answer, quality: &QualityMetrics) -> String {
    let mut shown = vec![("completeness", quality.completeness)];
    if answer.findings().next().is_some() {
        shown.extend([
            ("consistency", quality.consistency),
            ("coverage", quality.coverage),
            ("redundancy", quality.redundancy),
            ("conflict resolution", quality.conflict_resolution),
        ]);
    }
    shown.push(("plan coverage", quality.plan_coverage));
    let shown: Vec<String> = shown.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    format!("\nQuality: {}.\n", shown.join(", "))
}

fn title(aspect: &str) -> String {
    let spaced = aspect.replace(['_', '-'], " ");
    let mut chars = spaced.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + chars.as_str(),
        None => "Findings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::{
        AspectFindings, Author, Digest, MissingPart, Polarity, QueryId, Recommendation, StopReason, TaskId, Usage,
    };

    fn finding() -> MergedFinding {
        let at = |line: u32, quote: &str| Evidence::Source {
            path: "src/parse.rs".to_owned(),
            line,
            end_line: line,
            quote: quote.to_owned(),
            digest: Digest::of(b"file"),
            revision: None,
        };
        MergedFinding {
            id: "f1".to_owned(),
            claim: "`parse` panics on empty input.".to_owned(),
            subject: "parse".to_owned(),
            polarity: Polarity::Positive,
            value: None,
            unit: None,
            confidence: 0.85,
            severity: Level::High,
            impact: Level::High,
            effort: Level::Low,
            rationale: "An empty request ends the process.".to_owned(),
            recommendation: Some("Return an error".to_owned()),
            evidence: vec![
                at(4, "    if ready {\n        input[0]\n    }"),
                at(9, "// ```"),
                at(12, "c"),
                at(20, "d"),
                at(30, "e"),
            ],
            merged: 5,
            origins: 2,
            tasks: BTreeSet::new(),
        }
    }

    fn answer() -> Answer {
        let now = DateTime::from_timestamp(0, 0).expect("a time");
        let mut answer = Answer::refused(QueryId::from_sequence(1), "Is it safe?\nLook well.", "", now);
        answer.status = AnswerStatus::Partial;
        answer.stop_reason = StopReason::Deadline;
        answer.error = None;
        answer.author = Author::Synthesizer;
        answer.summary = "What was found:\n\n1. `parse` panics on empty input (`src/parse.rs:4`).".to_owned();
        answer.aspects = vec![AspectFindings {
            aspect: "error_handling".to_owned(),
            findings: vec![finding()],
        }];
        answer.recommendations = vec![Recommendation {
            action: "Return an error".to_owned(),
            rationale: "It panics (`src/parse.rs:4`).".to_owned(),
            score: 1.7,
            impact: Level::High,
            effort: Level::Low,
            confidence: 0.85,
            findings: vec!["f1".to_owned()],
        }];
        answer.missing = vec![MissingPart {
            task_id: TaskId::from_index(2),
            aspect: String::new(),
            reason: "not finished by the deadline".to_owned(),
        }];
        answer.outputs = json!({ "t1": [1, 2] });
        answer.quality = Some(QualityMetrics {
            completeness: 0.5,
            ..QualityMetrics::default()
        });
        answer.tasks_delegated = 2;
        answer.tasks_completed = 1;
        answer.worker_count = 1;
        answer.duration_ms = 1500.0;
        answer.sequential_ms = 3000.0;
        answer.time_reduction_percent = 50.0;
        answer.usage = Usage {
            tool_calls: 3,
            ..Usage::default()
        };
        answer
    }

    #[test]
    fn the_answer_comes_first_then_why_then_doubts_then_figures() {
        let expected = "\
# Is it safe? …

**This answer is partial**: see what is missing below.

What was found:

1. `parse` panics on empty input (`src/parse.rs:4`).

## Recommendations

1. **Return an error** (impact high, effort low, confidence 85 %)  
   It panics (`src/parse.rs:4`).

## Error handling

- **`parse` panics on empty input** (high, confidence 85 % from 2 origins)
  An empty request ends the process.
  `src/parse.rs:4`
  ```rs
  if ready {
      input[0]
  }
  ```
  `src/parse.rs:9`
  ````rs
  // ```
  ````
  `src/parse.rs:12`
  ```rs
  c
  ```
  also `src/parse.rs:20`, `src/parse.rs:30`

## Outputs

- `t1`: [1,2]

## Missing

- `t2`: not finished by the deadline

## Figures

1 of 2 tasks by 1 worker in 1.50 s; 3.00 s of work, 50 % of the time saved; 3 tool calls.

Quality: completeness 0.50, consistency 0.00, coverage 0.00, redundancy 0.00, conflict resolution 0.00, plan coverage 0.00.

Query `q1`: strategy none.
";
        assert_eq!(to_markdown(&answer(), OutputFormat::Markdown), expected);
    }

    #[test]
    fn the_other_formats_hold_what_they_promise() {
        let answer = answer();
        let brief = to_markdown(&answer, OutputFormat::Brief);
        assert!(
            brief.contains("Return an error") && !brief.contains("```") && !brief.contains("Figures"),
            "{brief}"
        );
        let table = to_markdown(&answer, OutputFormat::Table);
        let row = "| Error handling | `parse` panics on empty input. | high | 85 % | `src/parse.rs:4` |";
        assert!(table.contains(row) && table.contains("## Figures"), "{table}");
        let json: Answer = serde_json::from_str(&to_markdown(&answer, OutputFormat::Json)).expect("an answer");
        assert_eq!(json.recommendations, answer.recommendations);
    }

    #[test]
    fn what_was_found_nowhere_is_said_once() {
        let clean = |claim: &str, severity| MergedFinding {
            claim: claim.to_owned(),
            severity,
            ..finding()
        };
        let mut answer = answer();
        answer.aspects[0].findings = vec![
            clean("No risky pattern stands out in 2 functions of 1 file", Level::Info),
            clean("`parse` takes 9 parameters", Level::Low),
            clean("No risky pattern stands out in 30 functions of 4 files", Level::Info),
            clean("`read` takes 8 parameters", Level::Low),
            clean("No risky pattern stands out in 5 functions of 2 files.", Level::Info),
            clean("The median is 3", Level::Info),
            clean("The median is 4", Level::Info),
        ];
        let text = to_markdown(&answer, OutputFormat::Markdown);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("- **") || line.contains("The same"))
            .collect();
        assert_eq!(
            lines,
            [
                "- **No risky pattern stands out in 2 functions of 1 file** (info, confidence 85 % from 2 origins)",
                "  The same goes for 30 functions of 4 files; for 5 functions of 2 files.",
                "- **`parse` takes 9 parameters** (low, confidence 85 % from 2 origins)",
                "- **`read` takes 8 parameters** (low, confidence 85 % from 2 origins)",
                "- **The median is 3** (info, confidence 85 % from 2 origins)",
                "- **The median is 4** (info, confidence 85 % from 2 origins)",
            ],
            "{text}"
        );
    }

    #[test]
    fn text_from_strangers_stays_bounded_and_whole() {
        let mut strange = answer();
        strange.query = "ä".repeat(10_000);
        strange.aspects[0].findings[0].evidence = vec![Evidence::Source {
            path: "no suffix".to_owned(),
            line: 1,
            end_line: 90,
            quote: format!("\u{a0}x\n y{}", "\nlong ".repeat(90)),
            digest: Digest::of(b""),
            revision: None,
        }];
        let text = to_markdown(&strange, OutputFormat::Markdown);
        assert!(
            text.lines().all(|line| line.chars().count() < 400) && text.lines().count() < 60,
            "{text}"
        );
    }
}

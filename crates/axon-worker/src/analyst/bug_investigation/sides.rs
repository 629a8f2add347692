//! Writes down what one side of a defect shows: its message, its callers, its timing, its tests, its likes.

use axon_protocol::{Level, Polarity};
use axon_tools::code::{RankResult, Role, RuleMatch, RulesResult, SearchResult, last_name, role_of};
use serde_json::json;

use super::report::{all_reasons, subject_of};
use super::suspects::{Suspect, is_code, is_within, telling_words};
use super::{SEARCHES_MAX, is_telling, message_pattern};
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results, research};

/// Where the quoted messages are made.
pub fn write_messages(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        let whole = results
            .get::<SearchResult>(&format!("message_{index}"))
            .filter(|search| search.matches > 0);
        let (search, certain) = match whole {
            Some(search) => (search, 0.85),
            None => match results
                .get::<SearchResult>(&format!("part_{index}"))
                .filter(|search| search.matches > 0)
            {
                Some(search) => (search, 0.5),
                None => continue,
            },
        };
        let hits: Vec<_> = search
            .results
            .iter()
            .filter(|hit| is_code(&hit.path) && role_of(&hit.path) != Role::Test)
            .collect();
        let Some(first) = hits.first() else { continue };
        let place = first
            .function
            .as_ref()
            .map_or_else(|| format!("`{}`", first.path), |function| format!("`{function}`"));
        let more = if hits.len() > 1 {
            format!(", and {} more hold it", count(hits.len() - 1, "line"))
        } else {
            String::new()
        };
        let subject = first.function.clone().unwrap_or_else(|| first.path.clone());
        let mut draft = Draft::new(
            format!("{place} makes the message “{}”{more}", shortened(quote)),
            subject,
            "code.search",
        );
        draft.rationale = "The branch that makes the message is the last step of the failure: what leads there is the condition around it and the call that failed before.".to_owned();
        draft.recommendation =
            Some("Follow the condition around this line back to the value that does not fit.".to_owned());
        draft.confidence = certain / (hits.len() as f64).sqrt().max(1.0);
        // One place that makes the message is where the failure shows; of many, each may be.
        draft.severity = if hits.len() <= 2 { Level::High } else { Level::Medium };
        draft.impact = draft.severity;
        draft.evidence = hits
            .iter()
            .take(4)
            .filter_map(|hit| writer.lines(&hit.path, hit.line.saturating_sub(3).max(1), hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

/// Messages that no file holds, whole or in part.
pub fn write_absent_messages(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        let whole = results.get::<SearchResult>(&format!("message_{index}"));
        let part = results.get::<SearchResult>(&format!("part_{index}"));
        let (Some(files), Some(pattern)) = (whole.as_ref().map(|search| search.files), message_pattern(quote)) else {
            continue;
        };
        if [whole, part].iter().flatten().any(|search| search.matches > 0) {
            continue;
        }
        let mut draft = research::nowhere(&format!("The message “{}”", shortened(quote)), quote, files);
        let params = json!({"pattern": pattern, "case_sensitive": false});
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        draft.evidence = vec![tool_evidence("code.search", params, &research::figures(files))];
        writer.write(draft);
    }
}

/// Lines of a stack trace that hold no code.
pub fn write_bare_frames(writer: &mut Writer<'_>, brief: &Brief) {
    for (frame, why) in &brief.bare_frames {
        let claim = format!("`{}:{}` holds no code: {why}", frame.path, frame.line);
        let mut draft = Draft::new(claim, frame.path.clone(), "code.read");
        draft.rationale =
            "The question names this line. The trace may come from another version of the file.".to_owned();
        draft.confidence = 0.95;
        draft.polarity = Polarity::Negative;
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        let Ok(text) = writer.workspace().text(&frame.path) else {
            continue;
        };
        let last = frame.line.min(text.line_count()).saturating_add(1);
        draft.evidence = writer
            .lines(&frame.path, last.saturating_sub(3).max(1), last)
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

fn shortened(quote: &str) -> String {
    if quote.chars().count() <= 60 {
        quote.to_owned()
    } else {
        quote.chars().take(60).collect::<String>() + "…"
    }
}

/// Who calls the likeliest functions, and with what.
pub fn write_callers(writer: &mut Writer<'_>, suspects: &[Suspect], results: &Results) {
    let searches = results
        .all::<SearchResult>("mentions_")
        .into_iter()
        .chain(results.all::<SearchResult>("uses_"));
    let hits: Vec<_> = searches.flat_map(|(_, search)| search.results).collect();
    for suspect in suspects.iter().filter(|suspect| is_telling(&suspect.name)).take(3) {
        let name = last_name(&suspect.name);
        let mut calls: Vec<_> = hits
            .iter()
            .filter(|hit| {
                hit.text.contains(&format!("{name}(")) && !hit.text.contains("fn ") && !hit.text.contains("def ")
            })
            .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
            .filter(|hit| !(hit.path == suspect.path && (suspect.line..=suspect.end_line).contains(&hit.line)))
            .collect();
        calls.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        calls.dedup_by(|a, b| (&a.path, a.line) == (&b.path, b.line));
        if calls.is_empty() {
            continue;
        }
        let mut callers: Vec<String> = calls.iter().filter_map(|hit| hit.function.clone()).collect();
        callers.dedup();
        let by = if callers.is_empty() {
            count(calls.len(), "line")
        } else {
            listed(&callers, 3)
        };
        let mut draft = Draft::new(
            format!("`{}` gets its input from {by}", suspect.name),
            suspect.name.clone(),
            "code.search",
        );
        draft.rationale = format!(
            "What these calls pass is what `{name}` has to cope with; {}.",
            all_reasons(suspect)
        );
        draft.recommendation = Some("Check at each call what the arguments are in the failing case, at the limits above all: empty, missing, repeated.".to_owned());
        draft.confidence = 0.6;
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        draft.evidence = calls
            .iter()
            .take(5)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

pub fn write_no_timing(writer: &mut Writer<'_>, brief: &Brief, suspects: &[Suspect], risks: &RulesResult) {
    if risks.functions == 0 {
        return;
    }
    let named = suspects.iter().filter(|suspect| !suspect.name.is_empty());
    let names: Vec<String> = named.take(4).map(|suspect| suspect.name.clone()).collect();
    let claim = format!(
        "Nothing in the {} of the likeliest {} waits, locks or shares state in a risky way",
        count(risks.functions, "function"),
        count(risks.files, "file")
    );
    let mut draft = Draft::new(claim, brief.aspect.clone(), "code.rules");
    draft.rationale = format!(
        "The likeliest functions are {}; rules for locks, blocking calls, unbounded queues and detached tasks found nothing there.",
        listed(&names, 4)
    );
    draft.confidence = 0.5;
    draft.polarity = Polarity::Negative;
    let quote = format!(
        "{{\"files\":{},\"functions\":{},\"rules\":{},\"matches\":{}}}",
        risks.files, risks.functions, risks.rules, risks.matches
    );
    draft.evidence = vec![tool_evidence(
        "code.rules",
        json!({"aspects": ["concurrency", "performance"]}),
        &quote,
    )];
    writer.write(draft);
}

/// Which tests and documents speak of what fails.
pub fn write_tests(writer: &mut Writer<'_>, brief: &Brief, results: &Results, suspects: &[Suspect]) {
    let mentions: Vec<_> = results
        .all::<SearchResult>("mentions_")
        .into_iter()
        .chain(results.all::<SearchResult>("uses_"))
        .collect();
    for suspect in suspects.iter().filter(|suspect| is_telling(&suspect.name)).take(3) {
        let name = last_name(&suspect.name);
        let hits = mentions.iter().flat_map(|(_, search)| &search.results);
        let mut tests: Vec<_> = hits
            .filter(|hit| hit.text.contains(name))
            .filter(|hit| {
                role_of(&hit.path) == Role::Test
                    || hit
                        .function
                        .as_deref()
                        .is_some_and(|function| function.contains("test"))
            })
            .collect();
        tests.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        tests.dedup_by(|a, b| (&a.path, a.line) == (&b.path, b.line));
        let mut draft = if tests.is_empty() {
            let mut draft = Draft::new(
                format!("No test mentions `{}`, one of the likeliest places", suspect.name),
                suspect.name.clone(),
                "code.search",
            );
            draft.polarity = Polarity::Negative;
            draft.recommendation = Some(format!(
                "Write the failing case as a test of `{name}` before changing it."
            ));
            draft.confidence = 0.55;
            draft.evidence = writer
                .lines(&suspect.path, suspect.line, suspect.line + 2)
                .into_iter()
                .collect();
            draft
        } else {
            let claim = format!(
                "`{}` is mentioned by tests in {}",
                suspect.name,
                count(tests.len(), "place")
            );
            let mut draft = Draft::new(claim, suspect.name.clone(), "code.search");
            draft.recommendation = Some("Add the failing case beside them.".to_owned());
            draft.confidence = 0.7;
            draft.evidence = tests
                .iter()
                .take(4)
                .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
                .collect();
            draft
        };
        draft.rationale = format!("It is a likely place because {}.", all_reasons(suspect));
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        writer.write(draft);
    }
    research::write_ranked(writer, brief, &["tests"], results, 2);
    research::write_ranked(writer, brief, &["docs"], results, 2);
}

/// Places that share a risky pattern with the likeliest one.
pub fn write_similar(writer: &mut Writer<'_>, suspects: &[Suspect], results: &Results) {
    let everywhere = results.get::<RulesResult>("risks_everywhere").unwrap_or_default();
    let Some(first) = suspects.first() else { return };
    let within: Vec<&RuleMatch> = everywhere
        .results
        .iter()
        .filter(|risk| is_within(risk, first))
        .collect();
    for pattern in within.iter().take(2) {
        let others: Vec<&RuleMatch> = everywhere
            .results
            .iter()
            .filter(|risk| risk.rule == pattern.rule && !is_within(risk, first))
            .collect();
        if others.is_empty() {
            continue;
        }
        let names: Vec<String> = others
            .iter()
            .map(|risk| risk.function.clone().unwrap_or_else(|| risk.path.clone()))
            .collect();
        let mut draft = Draft::new(
            format!("{}, and so do {}", pattern.claim, listed(&names, 4)),
            subject_of(first),
            "code.rules",
        );
        draft.rationale = format!("{} They share the pattern with the likeliest place.", pattern.why);
        draft.recommendation = Some(pattern.recommendation.clone());
        draft.confidence = pattern.confidence * 0.8;
        draft.severity = pattern.severity;
        draft.impact = pattern.impact;
        draft.effort = pattern.effort;
        draft.evidence = writer.places(&pattern.path, &[pattern.line], pattern.function_end);
        draft.evidence.extend(
            others
                .iter()
                .take(5)
                .flat_map(|risk| writer.places(&risk.path, &[risk.line], risk.function_end)),
        );
        writer.write(draft);
    }
    let alike = results.get::<RankResult>("similar").unwrap_or_default();
    let best = alike.results.first().map_or(1.0, |first| first.score.max(f64::EPSILON));
    for chunk in alike
        .results
        .iter()
        .filter(|chunk| !chunk.name.is_empty() && chunk.name != first.name && chunk.score >= best * 0.5)
        .take(3)
    {
        let mut draft = Draft::new(
            format!("`{}` does similar work and may share the cause", chunk.name),
            chunk.name.clone(),
            "code.rank",
        );
        draft.rationale = format!(
            "It shares {} with `{}`.",
            listed(&telling_words(&chunk.matched), 5),
            first.name
        );
        draft.confidence = 0.4 * chunk.score / best;
        draft.severity = Level::Low;
        draft.impact = Level::Low;
        draft.evidence = writer
            .lines(&chunk.path, chunk.line, (chunk.line + 4).min(chunk.end_line))
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

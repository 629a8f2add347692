//! Writes down what the commits say of the likeliest files: when they changed last and why, and what usually changes with
//! them, and which commits their lines come from. That one came last does not make it the cause, and nothing here says so.

use axon_protocol::Level;
use axon_tools::code::terms;
use axon_tools::git::{BlameResult, BlamedRange, CoChangeResult, LogResult, LoggedCommit, OLDER, UNCOMMITTED};
use serde_json::json;

use super::report::subject_of;
use super::suspects::Suspect;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Commits that one finding names.
const COMMITS_MAX: usize = 3;
/// Files whose commits are reported.
const FILES_MAX: usize = 2;
/// Share of the commits from which a companion is worth a word.
const CONFIDENCE_MIN: f64 = 0.4;

/// The commits of the likeliest files, those whose subject speaks of the same first, and what changes with the first file.
pub fn write_history(writer: &mut Writer<'_>, brief: &Brief, results: &Results, suspects: &[Suspect]) {
    let Some(log) = results.get::<LogResult>("history") else {
        return;
    };
    let wanted: Vec<String> = brief.topic().iter().flat_map(|word| terms(word)).collect();
    let fits = |commit: &LoggedCommit| {
        terms(&commit.subject)
            .iter()
            .filter(|term| wanted.contains(term))
            .count()
    };
    let mut files: Vec<&Suspect> = Vec::new();
    for suspect in suspects {
        if files.iter().all(|known| known.path != suspect.path) && files.len() < FILES_MAX {
            files.push(suspect);
        }
    }
    for suspect in &files {
        let mut commits: Vec<&LoggedCommit> = log
            .results
            .iter()
            .filter(|commit| commit.files.iter().any(|file| file.path == suspect.path))
            .collect();
        let Some(last) = commits.first().copied() else { continue };
        let all = commits.len();
        // The order of the log, newest first, is kept among those that fit alike.
        commits.sort_by_key(|commit| std::cmp::Reverse(fits(commit)));
        let named: Vec<String> = commits.iter().take(COMMITS_MAX).map(|commit| shown(commit)).collect();
        let mut draft = Draft::new(
            format!(
                "`{}` changed in {}, last on {}",
                suspect.path,
                count(all, "commit"),
                last.date
            ),
            suspect.path.clone(),
            "git.log",
        );
        let speaking = commits.iter().filter(|commit| fits(commit) > 0).count();
        let which = if speaking > 0 {
            "Closest to the question"
        } else {
            "The latest"
        };
        draft.rationale = format!("{which}: {}.", named.join("; "));
        draft.recommendation = Some(format!(
            "See whether the failure began with one of them: `git show {}`, then `git bisect`.",
            commits[0].id.get(..10).unwrap_or(&commits[0].id)
        ));
        draft.confidence = if speaking > 0 { 0.6 } else { 0.45 };
        draft.severity = Level::Low;
        draft.impact = Level::Medium;
        draft.value = Some((all as f64, "commits"));
        draft.evidence = writer
            .lines(&suspect.path, suspect.line, suspect.line + 2)
            .into_iter()
            .collect();
        draft.evidence.push(tool_evidence(
            "git.log",
            json!({"paths": [suspect.path]}),
            &named.join("; "),
        ));
        writer.write(draft);
    }
    if let Some(first) = files.first() {
        write_companions(writer, results, &first.path);
    }
    if !log.complete {
        writer.note(format!(
            "The history that came with the workspace holds {} back to {}; what is older was not looked at.",
            count(log.commits, "commit"),
            log.oldest
        ));
    }
}

/// Which commits the lines of the likeliest functions come from, the newest and those that speak of the same first.
pub fn write_blame(writer: &mut Writer<'_>, brief: &Brief, results: &Results, suspects: &[Suspect]) {
    let wanted: Vec<String> = brief.topic().iter().flat_map(|word| terms(word)).collect();
    for (suspect, (_, blame)) in suspects.iter().zip(results.all::<BlameResult>("blame_")) {
        // Ids may repeat: a commit's lines need not stand together.
        let mut commits: Vec<(&BlamedRange, u32)> = Vec::new();
        for range in blame.results.iter().filter(|range| range.commit != OLDER) {
            let lines = range.end_line - range.line + 1;
            match commits.iter_mut().find(|(known, _)| known.commit == range.commit) {
                Some((_, all)) => *all += lines,
                None => commits.push((range, lines)),
            }
        }
        let whole = suspect.end_line - suspect.line + 1;
        // Lines that all came at once say nothing of what changed later.
        if commits.is_empty() || (commits.len() == 1 && commits[0].1 >= whole) {
            continue;
        }
        let speaks = |range: &BlamedRange| terms(&range.subject).iter().any(|term| wanted.contains(term));
        let is_uncommitted = |range: &BlamedRange| range.commit == UNCOMMITTED;
        commits.sort_by(|(a, _), (b, _)| {
            let order = |range: &BlamedRange| (is_uncommitted(range), speaks(range), range.date.clone());
            order(b).cmp(&order(a))
        });
        let (first, lines) = commits[0];
        let what = if is_uncommitted(first) {
            "a change that is in no commit".to_owned()
        } else {
            format!(
                "{} “{}” of {}",
                first.commit.get(..10).unwrap_or(&first.commit),
                first.subject,
                first.date
            )
        };
        let name = subject_of(suspect);
        let mut draft = Draft::new(
            format!(
                "{} of the {} of `{name}` came with {what}",
                lines,
                count(whole as usize, "line")
            ),
            name,
            "git.blame",
        );
        draft.rationale = format!(
            "What changed lately in a likely place is the first thing to doubt{}. Its lines come from {} in all.",
            if speaks(first) {
                ", and this change speaks of the same"
            } else {
                ""
            },
            count(commits.len() + usize::from(blame.older_lines > 0), "change")
        );
        draft.recommendation = Some(if is_uncommitted(first) {
            "Undo it for a moment and see whether the failure is still there.".to_owned()
        } else {
            format!(
                "Read what it changed, `git show {}`, with the failing input in mind.",
                first.commit.get(..10).unwrap_or(&first.commit)
            )
        });
        draft.confidence = if speaks(first) { 0.55 } else { 0.4 };
        draft.severity = Level::Low;
        draft.impact = Level::Medium;
        draft.evidence = writer
            .lines(&suspect.path, first.line, first.end_line.min(first.line + 4))
            .into_iter()
            .collect();
        let params = json!({"path": suspect.path, "line": first.line, "end_line": first.end_line});
        draft.evidence.push(tool_evidence("git.blame", params, &what));
        writer.write(draft);
    }
}

fn write_companions(writer: &mut Writer<'_>, results: &Results, path: &str) {
    let found = results.get::<CoChangeResult>("companions").unwrap_or_default();
    let often: Vec<_> = found
        .results
        .iter()
        .filter(|file| file.confidence >= CONFIDENCE_MIN)
        .collect();
    let Some(first) = often.first() else { return };
    let names: Vec<String> = often.iter().map(|file| file.path.clone()).collect();
    let mut draft = Draft::new(
        format!("Changes of `{path}` usually come with changes of {}", listed(&names, 3)),
        path.to_owned(),
        "git.co_change",
    );
    draft.rationale = format!(
        "`{}` changed in {} of the {} that changed it: what one assumes the other may have to keep.",
        first.path,
        first.support,
        count(found.commits, "commit")
    );
    draft.recommendation = Some("Look there too before and after the change.".to_owned());
    draft.confidence = (0.4 + first.confidence / 2.0).min(0.8);
    draft.severity = Level::Low;
    draft.impact = Level::Medium;
    draft.value = Some((first.support as f64, "common commits"));
    let figures = format!("{}: {} of {}", first.path, first.support, found.commits);
    draft.evidence = vec![tool_evidence("git.co_change", json!({"paths": [path]}), &figures)];
    writer.write(draft);
}

fn shown(commit: &LoggedCommit) -> String {
    let id = commit.id.get(..10).unwrap_or(&commit.id);
    format!("{id} “{}” ({}, {})", commit.subject, commit.author, commit.date)
}

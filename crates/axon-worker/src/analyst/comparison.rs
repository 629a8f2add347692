//! The playbook for comparisons: what is said of each thing, word for word and with its place, and how the things differ,
//! aspect by aspect and in figures where there are any. It decides nothing that the passages leave open.

mod aspects;
mod figures;

use std::collections::BTreeSet;

use axon_protocol::ToolCall;
use axon_tools::code::{RankResult, Ranked, query_terms, terms};
use axon_tools::{Kind, Workspace, language_of};
use serde_json::json;

use super::brief::call;
use super::passage::{Passage, passage};
use super::write::{Draft, Writer};
use super::{Brief, Conclusion, FINDINGS_MAX, Results, dependencies, research};
use aspects::{Aspect, aspects};
use figures::write_figures;

/// Things compared that are looked up.
pub const SUBJECTS_MAX: usize = 4;
/// Characters of a statement within a claim about several things.
const STATEMENT_CHARS_MAX: usize = 150;
/// Words that follow the name of a thing and are seldom said where it is made.
const GENERIC: &str =
    "handling implementation design approach mechanism logic code system support way solution variant";
/// Places of a thing that are read for its statements.
const PLACES_MAX: usize = 16;

/// The things compared that a task looks at: one where it is about that one alone.
fn subjects(brief: &Brief) -> Vec<(usize, String)> {
    let all = brief.subjects.iter().cloned().enumerate().take(SUBJECTS_MAX);
    match own(brief) {
        Some(own) => vec![(own, brief.subjects[own].clone())],
        None => all.collect(),
    }
}

/// The thing a task is about, if it is about one alone.
fn own(brief: &Brief) -> Option<usize> {
    brief
        .subjects
        .iter()
        .position(|subject| subject.eq_ignore_ascii_case(&brief.aspect))
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let subjects = subjects(brief);
    if subjects.is_empty() {
        // What is compared has no name: what a question about it would find is the best there is.
        return research::plan(brief);
    }
    let mut calls = Vec::new();
    for (index, subject) in &subjects {
        let mut words = vec![subject.clone()];
        if own(brief).is_none() {
            words.extend(aspects::words_of_task(brief));
        }
        let params = json!({"query": words.join(" "), "roles": ["library", "entry"], "max_results": 40});
        calls.push(call(format!("subject_{index}"), "code.rank", params));
    }
    for (index, _) in &subjects {
        calls.extend(figures::plan(brief, *index));
        if dependencies::asked(brief) && !brief.subject_paths[*index].is_empty() {
            calls.push(dependencies::plan_of(*index, &brief.subject_paths[*index]));
        }
    }
    calls
}

/// The second round: nothing more is needed.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    if brief.subjects.is_empty() {
        research::follow_up(brief, results)
    } else {
        Vec::new()
    }
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let mut writer = Writer::new(brief, workspace);
    let subjects = subjects(brief);
    if subjects.is_empty() {
        writer.note(
            "The things compared are not told apart by name: with their names, each would be looked at by itself.",
        );
        research::write(&mut writer, brief, results);
    } else {
        let sides: Vec<Side> = subjects
            .iter()
            .map(|(index, subject)| Side::of(&writer, brief, results, *index, subject))
            .collect();
        for side in sides.iter().filter(|side| side.places.is_empty()) {
            writer.note(format!("No passage of the scope speaks of “{}”.", side.subject));
        }
        write_figures(&mut writer, brief, results, &subjects);
        dependencies::write_compared(&mut writer, results, &subjects);
        write_aspects(&mut writer, brief, &sides);
    }
    if writer.len() == 0 {
        writer.note("Nothing in the scope speaks of the things compared. Their names in code, or a file about each, would help.");
    }
    writer.finish()
}

/// What is said of one thing.
struct Side {
    subject: String,
    places: Vec<Ranked>,
    /// Terms of its name that the other things do not have.
    names: BTreeSet<String>,
}

impl Side {
    fn of(writer: &Writer<'_>, brief: &Brief, results: &Results, index: usize, subject: &str) -> Self {
        let ranked = results
            .get::<RankResult>(&format!("subject_{index}"))
            .unwrap_or_default();
        let names = distinctive(&brief.subjects, index);
        let own = &brief.subject_paths[index];
        let speaks = |place: &&Ranked| {
            if !matches!(language_of(&place.path).kind, Kind::Code | Kind::Docs) {
                return false;
            }
            let about = own
                .iter()
                .any(|path| axon_tools::in_scope(&place.path, std::slice::from_ref(path)));
            let text = writer.workspace().text(&place.path).ok();
            let lines = text.map(|text| {
                (place.line..=place.end_line)
                    .filter_map(|line| text.line(line).map(str::to_owned))
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            about
                || holds_all(
                    &names,
                    &format!("{} {} {}", place.path, place.name, lines.unwrap_or_default()),
                )
        };
        Self {
            places: ranked.results.iter().filter(speaks).take(PLACES_MAX).cloned().collect(),
            subject: subject.to_owned(),
            names,
        }
    }

    /// Whether a place is about this thing as a whole, by its path or heading.
    fn is_about(&self, place: &Ranked, own: &[String]) -> bool {
        own.iter()
            .any(|path| axon_tools::in_scope(&place.path, std::slice::from_ref(path)))
            || holds_all(&self.names, &format!("{} {}", place.path, place.name))
    }

    /// The statement about the thing that says most about an aspect.
    fn statement(&self, writer: &Writer<'_>, aspect: &Aspect, own: &[String]) -> Option<(Ranked, Passage)> {
        let mut best: Option<(usize, Ranked, Passage)> = None;
        for place in &self.places {
            let about = self.is_about(place, own);
            let Ok(text) = writer.workspace().text(&place.path) else {
                continue;
            };
            let mut wanted = aspect.terms.clone();
            if !about {
                wanted.extend(self.names.iter().cloned());
            }
            let Some(found) = passage(&place.path, &text, place.line, place.end_line, &wanted) else {
                continue;
            };
            let said = terms(&found.statement);
            let fits = said
                .iter()
                .filter(|term| aspect.terms.contains(*term))
                .collect::<BTreeSet<_>>()
                .len();
            let headed = terms(&place.name).iter().any(|term| aspect.terms.contains(term));
            // A path is named by its last part, not by a word in it.
            let named = about
                || match self.subject.trim_end_matches('/').rsplit_once('/') {
                    Some((_, last)) => found.statement.contains(last),
                    None => holds_all(&self.names, &found.statement),
                };
            let points = 2 * fits
                + 3 * usize::from(headed && fits + usize::from(about) > 0)
                + usize::from(has_figure(&found.statement));
            // A heading alone says nothing: the statement has to.
            // What nobody asked for has to be said clearly to be told.
            let least = if aspect.asked { 1 } else { 2 };
            if !named || (fits < least && !headed) {
                continue;
            }
            if best.as_ref().is_none_or(|(known, _, _)| points > *known) {
                best = Some((points, place.clone(), found));
            }
        }
        best.map(|(_, place, passage)| (place, passage))
    }
}

/// The terms of a thing's name that tell it from the others, without those that any thing could be called by; all of them
/// where nothing else would be left.
fn distinctive(subjects: &[String], index: usize) -> BTreeSet<String> {
    let of = |subject: &String| query_terms(subject).into_iter().collect::<BTreeSet<String>>();
    let own = of(&subjects[index]);
    let others: BTreeSet<String> = subjects
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .flat_map(|(_, subject)| of(subject))
        .collect();
    let generic: BTreeSet<String> = query_terms(GENERIC).into_iter().collect();
    let left: BTreeSet<String> = own.difference(&others).cloned().collect();
    let telling: BTreeSet<String> = left.difference(&generic).cloned().collect();
    [telling, left]
        .into_iter()
        .find(|terms| !terms.is_empty())
        .unwrap_or(own)
}

fn holds_all(names: &BTreeSet<String>, text: &str) -> bool {
    let held: BTreeSet<String> = terms(text).into_iter().collect();
    !names.is_empty() && names.iter().all(|name| held.contains(name))
}

fn has_figure(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit())
}

/// One finding for each aspect: what is said of each thing, and who is silent.
fn write_aspects(writer: &mut Writer<'_>, brief: &Brief, sides: &[Side]) {
    let single = sides.len() == 1;
    let mut silent: Vec<(usize, Draft)> = Vec::new();
    let mut used: BTreeSet<(String, u32)> = BTreeSet::new();
    for aspect in aspects(brief, sides.iter().map(|side| side.places.as_slice())) {
        if writer.len() + 1 >= FINDINGS_MAX {
            break;
        }
        let said: Vec<(&Side, Ranked, Passage)> = sides
            .iter()
            .filter_map(|side| {
                let index = brief.subjects.iter().position(|subject| *subject == side.subject)?;
                let (place, found) = side.statement(writer, &aspect, &brief.subject_paths[index])?;
                (!used.contains(&(place.path.clone(), found.line))).then_some((side, place, found))
            })
            .collect();
        let mut places: Vec<(String, u32)> = said
            .iter()
            .map(|(_, place, found)| (place.path.clone(), found.line))
            .collect();
        places.dedup();
        // One statement for both tells no difference.
        if said.is_empty() || places.len() < said.len() {
            continue;
        }
        let statements: Vec<String> = said
            .iter()
            .map(|(side, _, found)| format!("{}: “{}”", side.subject, shortened(&found.statement)))
            .collect();
        let complete = said.len() == sides.len();
        let claim = if single || complete {
            format!("{} – {}", aspect.name, statements.join("; "))
        } else {
            format!(
                "{} – only of {} something is said: {}",
                aspect.name,
                in_words(&said),
                statements.join("; ")
            )
        };
        let mut draft = Draft::new(
            claim,
            if single {
                sides[0].subject.clone()
            } else {
                aspect.name.clone()
            },
            "code.rank",
        );
        let figures: Vec<String> = said
            .iter()
            .filter_map(|(side, _, found)| Some(format!("{} {}", side.subject, figure_in(&found.statement)?)))
            .collect();
        draft.rationale = match (single, complete, figures.as_slice()) {
            (true, _, _) => "What a comparison needs of this side; the other sides are other tasks.".to_owned(),
            (_, true, [_, _, ..]) => format!("Figures: {}.", figures.join(", ")),
            (_, true, _) => "Both sides speak of it; no figures stand on both.".to_owned(),
            (_, false, _) => {
                "The other side says nothing of it in the passages found, which is no proof that it differs.".to_owned()
            }
        };
        draft.confidence = if single {
            0.6
        } else if complete {
            0.7
        } else {
            0.4
        };
        draft.evidence = said
            .iter()
            .filter_map(|(_, place, found)| writer.lines(&place.path, found.line, found.end_line))
            .collect();
        draft.origin = said
            .first()
            .map(|(_, place, found)| format!("{}:{}", place.path, found.line));
        if single || complete {
            if writer.write(draft) {
                used.extend(places);
            }
        } else {
            silent.push((said.len(), draft));
        }
    }
    // What only one side shows comes after what all sides show.
    for (_, draft) in silent.into_iter().take(2) {
        writer.write(draft);
    }
}

fn in_words(said: &[(&Side, Ranked, Passage)]) -> String {
    said.iter()
        .map(|(side, _, _)| side.subject.as_str())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The first figure of a statement with the word behind it.
fn figure_in(statement: &str) -> Option<String> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let at = words
        .iter()
        .position(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let plain = |word: &str| word.trim_end_matches(['.', ',', ';', ':', ')']).to_owned();
    let unit = words
        .get(at + 1)
        .map(|word| plain(word))
        .filter(|word| word.chars().all(|c| c.is_alphabetic() || c == '%'));
    Some(match unit {
        Some(unit) => format!("{} {unit}", plain(words[at])),
        None => plain(words[at]),
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(STATEMENT_CHARS_MAX) {
        Some((at, _)) => {
            let cut = &text[..at];
            format!("{}…", &cut[..cut.rfind(' ').unwrap_or(cut.len())])
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_told_apart_by_what_only_one_is_called() {
        let subjects = ["LRU cache".to_owned(), "clock cache".to_owned()];
        assert_eq!(distinctive(&subjects, 0), BTreeSet::from(["lru".to_owned()]));
        assert_eq!(distinctive(&subjects, 1), BTreeSet::from(["clock".to_owned()]));
        let worded = ["session handling".to_owned(), "json providers".to_owned()];
        assert_eq!(distinctive(&worded, 0), BTreeSet::from(["session".to_owned()]));
        assert_eq!(distinctive(&worded, 1).len(), 2);
        let same = ["cache".to_owned(), "cache".to_owned()];
        assert_eq!(distinctive(&same, 0).len(), 1);
    }

    #[test]
    fn figures_are_read_with_their_unit() {
        for (text, expected) in [
            ("It holds 4,096 entries.", Some("4,096 entries")),
            ("At most 2 GiB, then it evicts", Some("2 GiB")),
            ("It takes 5.", Some("5")),
            ("No figure", None),
        ] {
            assert_eq!(figure_in(text).as_deref(), expected, "{text}");
        }
    }
}

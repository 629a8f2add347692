//! Divides a query into inquiries: what is to be found out, each by its own template, and which needs which. Scopes come
//! later; one inquiry may become several tasks with a scope each.

use std::collections::BTreeSet;

use axon_protocol::{
    Analysis, AppliedPattern, Complexity, DelegationTemplate, Query, Shape, StrategyDefinition, TemplateScope,
};

use super::error::PlanError;
use crate::advice::Advice;
use crate::analysis::parts::{Part, parts};
use crate::analysis::{Text, Vocabulary, analyze, aspects_of, is_filling, is_surveying};
use crate::strategy::{ANY_ASPECT, Experience, GENERAL, Library, template_for};
use crate::view::WorkspaceView;

/// Longest label of a part of a query that names an aspect, in characters.
const LABEL_CHARS_MAX: usize = 72;

/// One thing to find out.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    /// The strategy it is worked on by.
    pub definition: &'a StrategyDefinition,
    /// How its tasks are written.
    pub template: &'a DelegationTemplate,
    /// The aspect, as the answer will name it.
    pub aspect: String,
    /// The part of the query it is, in the asker's words; `None` for an aspect of the whole.
    pub part: Option<PartOf>,
    /// Paths it looks at; everything if empty.
    pub focus: Vec<String>,
    /// Earlier inquiries whose results it needs.
    pub needs: Vec<usize>,
    /// Whether it is about one thing, however large that is.
    pub one: bool,
    /// What the findings should answer besides what its template asks.
    pub questions: Vec<String>,
}

impl Inquiry<'_> {
    /// Whether its scope may be divided among several tasks.
    pub(super) fn divisible(&self) -> bool {
        !self.one && self.template.scope == TemplateScope::Divided
    }
}

/// A part of the query that is a task of its own.
#[derive(Debug)]
pub(super) struct PartOf {
    /// Its words.
    pub label: String,
    /// It is a question.
    pub question: bool,
    /// What it names.
    pub analysis: Analysis,
}

/// What inquiries are made from.
pub(super) struct Source<'a> {
    pub query: &'a Query,
    pub analysis: &'a Analysis,
    pub definition: &'a StrategyDefinition,
    pub library: &'a Library,
    pub view: Option<&'a WorkspaceView>,
    /// What patterns say of queries like it.
    pub advice: &'a Advice,
    /// Most inquiries.
    pub most: usize,
}

/// Inquiries, with the patterns that changed which they are.
type Advised<'a> = (Vec<Inquiry<'a>>, Vec<AppliedPattern>);

/// The inquiries of a query, in the order in which they will be shown; at least one.
pub(super) fn inquiries<'a>(source: &Source<'a>) -> Result<Advised<'a>, PlanError> {
    let definition = source.definition;
    let whole = definition
        .templates
        .first()
        .ok_or_else(|| PlanError::NoTemplate(definition.name.clone()))?;
    let analysis = source.analysis;
    let text = Text::new(&source.query.query);
    let parts = parts(&text);
    if analysis.complexity == Complexity::Simple || source.most <= 1 && analysis.shape != Shape::Chain {
        // However little work they are, two kinds of work are not done by one: it would do the first and drop the other.
        return Ok(unadvised(match differ_in_kind(source, &text, &parts) {
            true => of_parts(source, &text, &parts, whole),
            false => vec![single(source, &text, &parts, whole)],
        }));
    }
    if parts.len() > 1 && names_only_aspects(source, &text, &parts) {
        return Ok(unadvised(of_aspects(source, whole)));
    }
    if parts.len() > 1 && analysis.shape != Shape::Single {
        return Ok(unadvised(of_parts(source, &text, &parts, whole)));
    }
    if analysis.subjects.len() > 1 {
        return Ok(unadvised(of_subjects(source, whole)));
    }
    if !analysis.aspects.is_empty() {
        return Ok(unadvised(of_aspects(source, whole)));
    }
    Ok(of_templates(source, whole))
}

/// What the query itself asks for is no matter of experience.
fn unadvised(inquiries: Vec<Inquiry<'_>>) -> Advised<'_> {
    (inquiries, Vec::new())
}

/// Everything in one task.
fn single<'a>(source: &Source<'a>, text: &Text<'_>, parts: &[Part], whole: &'a DelegationTemplate) -> Inquiry<'a> {
    let own = Vocabulary::of([source.definition]).aspects_by_phrase(&text.tokens);
    let (template, aspect) = match (source.analysis.aspects.as_slice(), own.as_slice()) {
        ([aspect], _) => covering(source.definition, aspect, &[]).unwrap_or((whole, aspect)),
        // What the strategy itself has a word for is what is asked.
        ([], [own]) | ([_, ..], [own]) => match template_for(source.definition, own) {
            Some(template) => (template, template.aspect.as_str()),
            None => (whole, whole.aspect.as_str()),
        },
        _ => (whole, whole.aspect.as_str()),
    };
    let questions = match parts.len() {
        0 | 1 => Vec::new(),
        _ => parts
            .iter()
            .map(|part| asked(&part.label(text), part.question))
            .collect(),
    };
    Inquiry {
        aspect: aspect.to_owned(),
        questions,
        ..plain(template, source)
    }
}

fn plain<'a>(template: &'a DelegationTemplate, source: &Source<'a>) -> Inquiry<'a> {
    Inquiry {
        definition: source.definition,
        template,
        aspect: template.aspect.clone(),
        part: None,
        focus: match source.analysis.subjects.as_slice() {
            [_, _, ..] => paths_of_all(source.analysis),
            _ => source.analysis.paths.clone(),
        },
        needs: Vec::new(),
        one: false,
        questions: Vec::new(),
    }
}

/// One inquiry for each part. What exceeds the number of inquiries joins the last.
fn of_parts<'a>(
    source: &Source<'a>,
    text: &Text<'_>,
    parts: &[Part],
    whole: &'a DelegationTemplate,
) -> Vec<Inquiry<'a>> {
    // Steps of a chain cost time, not workers: they need not fit the number of workers. Nor need the parts of a simple query,
    // which one worker does one after the other.
    let most = if source.analysis.shape == Shape::Chain || source.analysis.complexity == Complexity::Simple {
        source.most.max(4)
    } else {
        source.most
    };
    let kept = parts.len().min(most.max(1));
    let mut inquiries: Vec<Inquiry<'a>> = Vec::with_capacity(kept);
    for (index, part) in parts[..kept].iter().enumerate() {
        let mut label = part.label(text);
        if let Some(before) = inquiries.iter().rev().find_map(|inquiry| inquiry.part.as_ref()) {
            label = told_in_full(&label, &before.label);
        }
        let mut needs = part.needs.clone();
        if index + 1 == kept {
            for rest in &parts[kept..] {
                label = format!("{label}; {}", rest.label(text));
                needs.extend(rest.needs.iter().copied().filter(|&need| need < index));
            }
            needs.sort_unstable();
            needs.dedup();
        }
        let analysis = analyze(&Query::new(&label), source.view, source.library.vocabulary());
        let mut focus = analysis.paths.clone();
        if focus.is_empty() {
            for &need in &needs {
                focus.extend(inquiries[need].focus.iter().cloned());
            }
            focus.sort_unstable();
            focus.dedup();
        }
        let definition = strategy_of(source, &label, &analysis);
        let any = any_aspect(definition).unwrap_or(whole);
        let named = match analysis.aspects.as_slice() {
            [aspect] => template_for(definition, aspect),
            _ => None,
        };
        inquiries.push(Inquiry {
            definition,
            template: named.unwrap_or(any),
            aspect: unused(&shortened(&label), &inquiries),
            focus,
            one: !needs.is_empty(),
            needs,
            questions: vec![asked(&label, part.question)],
            part: Some(PartOf {
                label,
                question: part.question,
                analysis,
            }),
        });
    }
    inquiries
}

/// Whether a part is clearly the work of another strategy than the whole: `Review src/ for panics, and tell what needs tests`.
/// A step of one investigation is no work of its own: what leads up to another part, and what says that it goes on from one.
fn differ_in_kind(source: &Source<'_>, text: &Text<'_>, parts: &[Part]) -> bool {
    let leads_up = |index: usize| parts.iter().any(|part| part.needs.contains(&index));
    let kind = |part: &Part| {
        let label = part.label(text);
        let analysis = analyze(&Query::new(&label), source.view, source.library.vocabulary());
        strategy_of(source, &label, &analysis).name.as_str()
    };
    if parts.len() < 2 {
        return false;
    }
    let kinds: Vec<&str> = parts.iter().map(kind).collect();
    let own = source.definition.name.as_str();
    let alone = |index: usize| parts[index].sign.is_empty() && !leads_up(index);
    let differs = (0..parts.len()).any(|index| alone(index) && kinds[index] != own);
    // What nothing tells the kind of is no second one.
    let told: BTreeSet<&str> = kinds
        .iter()
        .copied()
        .chain([own])
        .filter(|name| *name != GENERAL)
        .collect();
    differs && told.len() > 1
}

/// A part with `the one of …` replaced by what the part before calls it: each task is read by itself.
fn told_in_full(label: &str, before: &str) -> String {
    for preposition in ["of", "in", "for", "from"] {
        for short in ["the one", "that", "the same"] {
            let Some(at) = label.find(&format!(" {short} {preposition} ")) else {
                continue;
            };
            let Some(end) = before.find(&format!(" {preposition} ")) else {
                continue;
            };
            let Some(start) = before[..end].find(" the ") else {
                continue;
            };
            return format!(
                "{}{}{}",
                &label[..at],
                &before[start..end],
                &label[at + 1 + short.len()..]
            );
        }
    }
    label.to_owned()
}

/// Score from which a part is clearly the work of another strategy than the whole: one pattern of it matches.
const OWN_STRATEGY_SCORE_MIN: f64 = 1.0;

/// The strategy of a part: its own where that is clear, else that of the whole. `Describe X, then write tests for it` is
/// research and testing.
fn strategy_of<'a>(source: &Source<'a>, label: &str, analysis: &Analysis) -> &'a StrategyDefinition {
    let selected = source
        .library
        .select(analysis, &Query::new(label), &Experience::default());
    if selected.name == GENERAL || selected.score < OWN_STRATEGY_SCORE_MIN {
        return source.definition;
    }
    source.library.get(&selected.name).unwrap_or(source.definition)
}

/// Whether the parts say nothing but which aspects of one thing to look at: `Review X. Which functions are risky? Where
/// could it panic?`
fn names_only_aspects(source: &Source<'_>, text: &Text<'_>, parts: &[Part]) -> bool {
    let analysis = source.analysis;
    let apart = parts.iter().any(|part| !part.needs.is_empty() || part.joins);
    if apart || analysis.aspects.is_empty() || !analysis.symbols.is_empty() || !analysis.quotes.is_empty() {
        return false;
    }
    let body = |part: &Part| &text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)];
    let judged = |part: &Part| !aspects_of(text, part, source.library.vocabulary()).is_empty();
    // What names a place beside the first part means that place alone.
    parts.iter().enumerate().all(|(index, part)| {
        let names = body(part).iter().any(|token| token.is_named());
        let bare = is_surveying(&part.verb)
            && body(part)
                .iter()
                .all(|token| token.is_named() || is_filling(&token.lower));
        if index == 0 {
            bare || judged(part)
        } else {
            judged(part) && !names
        }
    })
}

/// The template that sets side by side what others found of each thing compared.
const DIFFERENCES: &str = "differences";

/// One inquiry for each thing compared, and one that sets them side by side where the strategy knows how; where several
/// aspects are asked for, one for each aspect that looks at all of the things.
fn of_subjects<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Vec<Inquiry<'a>> {
    let analysis = source.analysis;
    let differences = template_for(source.definition, DIFFERENCES);
    if differences.is_some() && analysis.aspects.len() > 1 {
        let mut inquiries = of_aspects(source, whole);
        let things = quoted(&analysis.subjects);
        for inquiry in &mut inquiries {
            inquiry.one = true;
            inquiry.focus = paths_of_all(analysis);
            inquiry.questions = vec![format!("How do {things} differ in {}?", inquiry.aspect)];
        }
        return inquiries;
    }
    let any = any_aspect(source.definition).unwrap_or(whole);
    let subjects = joined(&analysis.subjects, source.most);
    let mut inquiries: Vec<Inquiry<'a>> = subjects
        .iter()
        .map(|subject| Inquiry {
            aspect: subject.clone(),
            focus: paths_of(subject, analysis),
            one: true,
            questions: analysis
                .aspects
                .iter()
                .map(|aspect| format!("What about {aspect} in “{subject}”?"))
                .collect(),
            ..plain(any, source)
        })
        .collect();
    if let Some(template) = differences {
        inquiries.push(Inquiry {
            aspect: unused(&template.aspect, &inquiries),
            needs: (0..inquiries.len()).collect(),
            focus: paths_of_all(analysis),
            questions: analysis
                .aspects
                .iter()
                .map(|aspect| format!("How do {} differ in {aspect}?", quoted(&subjects)))
                .collect(),
            ..plain(template, source)
        });
    }
    inquiries
}

/// `“a”, “b” and “c”`.
fn quoted(things: &[String]) -> String {
    super::in_words(&things.iter().map(|thing| format!("“{thing}”")).collect::<Vec<_>>())
}

fn names(subject: &str, path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    subject
        .split_whitespace()
        .any(|word| word.trim_end_matches('/') == path || word == last)
}

/// The paths that a thing compared names; else those that none of the things names, where all of them are.
fn paths_of(subject: &str, analysis: &Analysis) -> Vec<String> {
    let own: Vec<String> = analysis
        .paths
        .iter()
        .filter(|path| names(subject, path))
        .cloned()
        .collect();
    if !own.is_empty() {
        return own;
    }
    let shared = |path: &&String| !analysis.subjects.iter().any(|subject| names(subject, path));
    analysis.paths.iter().filter(shared).cloned().collect()
}

/// The paths of all things compared; everything where one of them may be anywhere.
fn paths_of_all(analysis: &Analysis) -> Vec<String> {
    let each: Vec<Vec<String>> = analysis
        .subjects
        .iter()
        .map(|subject| paths_of(subject, analysis))
        .collect();
    if each.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let mut all = each.concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// One inquiry for each aspect the asker names.
fn of_aspects<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Vec<Inquiry<'a>> {
    let aspects = joined(&source.analysis.aspects, source.most);
    let mut used: Vec<&str> = Vec::new();
    // A template goes to the aspect that has its name before one that has another word for it.
    let own = |aspect: &str| {
        source
            .definition
            .templates
            .iter()
            .any(|template| template.aspect.eq_ignore_ascii_case(aspect))
    };
    let reserved: Vec<&str> = aspects
        .iter()
        .map(String::as_str)
        .filter(|aspect| own(aspect))
        .collect();
    let mut inquiries: Vec<Inquiry<'a>> = Vec::with_capacity(aspects.len());
    for aspect in &aspects {
        let taken: Vec<&str> = if own(aspect) {
            used.clone()
        } else {
            used.iter().chain(&reserved).copied().collect()
        };
        let template = covering(source.definition, aspect, &taken).map_or(whole, |(template, _)| template);
        used.push(&template.aspect);
        inquiries.push(Inquiry {
            aspect: aspect.clone(),
            ..plain(template, source)
        });
    }
    inquiries
}

/// One inquiry for each template of the strategy that shares the work, most important first.
fn of_templates<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Advised<'a> {
    let sharing: Vec<&DelegationTemplate> = source
        .definition
        .templates
        .iter()
        .skip(1)
        .filter(|template| template.aspect != ANY_ASPECT)
        .collect();
    if sharing.is_empty() {
        return unadvised(vec![plain(whole, source)]);
    }
    let (templates, applied) = source.advice.templates(sharing, source.most);
    (
        templates.into_iter().map(|template| plain(template, source)).collect(),
        applied,
    )
}

/// The template that covers an aspect and is not taken, else the one for any aspect.
fn covering<'a, 'b>(
    definition: &'a StrategyDefinition,
    aspect: &'b str,
    taken: &[&str],
) -> Option<(&'a DelegationTemplate, &'b str)> {
    let named = template_for(definition, aspect).filter(|template| !taken.contains(&template.aspect.as_str()));
    named
        .or_else(|| any_aspect(definition))
        .map(|template| (template, aspect))
}

fn any_aspect(definition: &StrategyDefinition) -> Option<&DelegationTemplate> {
    definition
        .templates
        .iter()
        .find(|template| template.aspect == ANY_ASPECT)
}

/// The items, the last ones joined so that there are `most` at most.
fn joined(items: &[String], most: usize) -> Vec<String> {
    let most = most.max(1);
    if items.len() <= most {
        return items.to_vec();
    }
    let mut joined = items[..most - 1].to_vec();
    joined.push(super::in_words(&items[most - 1..]));
    joined
}

fn shortened(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", label[..at].trim_end()),
        None => label.to_owned(),
    }
}

fn unused(label: &str, inquiries: &[Inquiry<'_>]) -> String {
    let taken = |label: &str| inquiries.iter().any(|inquiry| inquiry.aspect == label);
    if !taken(label) {
        return label.to_owned();
    }
    let numbered = (2..).map(|number| format!("{label} ({number})"));
    numbered
        .take(inquiries.len() + 1)
        .find(|label| !taken(label))
        .unwrap_or_else(|| label.to_owned())
}

fn asked(label: &str, question: bool) -> String {
    let mark = if question { "?" } else { "." };
    format!("{}{mark}", super::capitalised(label.trim_end_matches(['.', '?', '!'])))
}

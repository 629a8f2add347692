//! Divides a query into inquiries: what is to be found out, each by its own template, and which needs which. Scopes come
//! later; one inquiry may become several tasks with a scope each.

use axon_protocol::{Analysis, Complexity, DelegationTemplate, Query, Shape, StrategyDefinition};

use super::error::PlanError;
use crate::analysis::parts::{Part, parts};
use crate::analysis::{Text, analyze, aspects_of, is_filling, is_surveying};
use crate::strategy::{ANY_ASPECT, template_for};
use crate::view::WorkspaceView;

/// Longest label of a part of a query that names an aspect, in characters.
const LABEL_CHARS_MAX: usize = 72;

/// One thing to find out.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
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
    /// Whether its scope may be divided among several tasks.
    pub divisible: bool,
    /// What the findings should answer besides what its template asks.
    pub questions: Vec<String>,
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
    pub view: Option<&'a WorkspaceView>,
    /// Most inquiries.
    pub most: usize,
}

/// The inquiries of a query, in the order in which they will be shown; at least one.
pub(super) fn inquiries<'a>(source: &Source<'a>) -> Result<Vec<Inquiry<'a>>, PlanError> {
    let definition = source.definition;
    let whole = definition
        .templates
        .first()
        .ok_or_else(|| PlanError::NoTemplate(definition.name.clone()))?;
    let analysis = source.analysis;
    if analysis.complexity == Complexity::Simple || source.most <= 1 && analysis.shape != Shape::Chain {
        return Ok(vec![single(source, whole)]);
    }
    let text = Text::new(&source.query.query);
    let parts = parts(&text);
    if parts.len() > 1 && names_only_aspects(source, &text, &parts) {
        return Ok(of_aspects(source, whole));
    }
    if parts.len() > 1 && analysis.shape != Shape::Single {
        return Ok(of_parts(source, &text, &parts, whole));
    }
    if analysis.subjects.len() > 1 {
        return Ok(of_subjects(source, whole));
    }
    if !analysis.aspects.is_empty() {
        return Ok(of_aspects(source, whole));
    }
    Ok(of_templates(source, whole))
}

/// Everything in one task.
fn single<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Inquiry<'a> {
    let (template, aspect) = match source.analysis.aspects.as_slice() {
        [aspect] => covering(source.definition, aspect, &[]).unwrap_or((whole, aspect)),
        _ => (whole, whole.aspect.as_str()),
    };
    let text = Text::new(&source.query.query);
    let parts = parts(&text);
    let questions = match parts.len() {
        0 | 1 => Vec::new(),
        _ => parts
            .iter()
            .map(|part| asked(&part.label(&text), part.question))
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
        template,
        aspect: template.aspect.clone(),
        part: None,
        focus: source.analysis.paths.clone(),
        needs: Vec::new(),
        divisible: true,
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
    let any = any_aspect(source.definition).unwrap_or(whole);
    // Steps of a chain cost time, not workers: they need not fit the number of workers.
    let most = if source.analysis.shape == Shape::Chain {
        source.most.max(4)
    } else {
        source.most
    };
    let kept = parts.len().min(most.max(1));
    let mut inquiries: Vec<Inquiry<'a>> = Vec::with_capacity(kept);
    for (index, part) in parts[..kept].iter().enumerate() {
        let mut label = part.label(text);
        let mut needs = part.needs.clone();
        if index + 1 == kept {
            for rest in &parts[kept..] {
                label = format!("{label}; {}", rest.label(text));
                needs.extend(rest.needs.iter().copied().filter(|&need| need < index));
            }
            needs.sort_unstable();
            needs.dedup();
        }
        let analysis = analyze(&Query::new(&label), source.view);
        let mut focus = analysis.paths.clone();
        if focus.is_empty() {
            for &need in &needs {
                focus.extend(inquiries[need].focus.iter().cloned());
            }
            focus.sort_unstable();
            focus.dedup();
        }
        let named = match analysis.aspects.as_slice() {
            [aspect] => template_for(source.definition, aspect),
            _ => None,
        };
        inquiries.push(Inquiry {
            template: named.unwrap_or(any),
            aspect: unused(&shortened(&label), &inquiries),
            focus,
            divisible: needs.is_empty(),
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

/// Whether the parts say nothing but which aspects of one thing to look at: `Review X. Which functions are risky? Where
/// could it panic?`
fn names_only_aspects(source: &Source<'_>, text: &Text<'_>, parts: &[Part]) -> bool {
    let analysis = source.analysis;
    let apart = parts.iter().any(|part| !part.needs.is_empty() || part.joins);
    if apart || analysis.aspects.is_empty() || !analysis.symbols.is_empty() || !analysis.quotes.is_empty() {
        return false;
    }
    let body = |part: &Part| &text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)];
    let judged = |part: &Part| !aspects_of(text, part).is_empty();
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

/// One inquiry for each thing compared; the aspects of the comparison are questions to each.
fn of_subjects<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Vec<Inquiry<'a>> {
    let any = any_aspect(source.definition).unwrap_or(whole);
    let subjects = joined(&source.analysis.subjects, source.most);
    let questions = |subject: &str| -> Vec<String> {
        let aspects = source.analysis.aspects.iter();
        aspects
            .map(|aspect| format!("What about {aspect} in {subject}?"))
            .collect()
    };
    subjects
        .iter()
        .map(|subject| {
            let named: Vec<String> = source
                .analysis
                .paths
                .iter()
                .filter(|path| {
                    let last = path.rsplit('/').next().unwrap_or(path);
                    subject
                        .split_whitespace()
                        .any(|word| word.trim_end_matches('/') == path.as_str() || word == last)
                })
                .cloned()
                .collect();
            Inquiry {
                aspect: subject.clone(),
                focus: if named.is_empty() {
                    source.analysis.paths.clone()
                } else {
                    named
                },
                divisible: false,
                questions: questions(subject),
                ..plain(any, source)
            }
        })
        .collect()
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
fn of_templates<'a>(source: &Source<'a>, whole: &'a DelegationTemplate) -> Vec<Inquiry<'a>> {
    let sharing: Vec<&DelegationTemplate> = source
        .definition
        .templates
        .iter()
        .skip(1)
        .filter(|template| template.aspect != ANY_ASPECT)
        .collect();
    if sharing.is_empty() {
        return vec![plain(whole, source)];
    }
    sharing
        .into_iter()
        .take(source.most)
        .map(|template| plain(template, source))
        .collect()
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

//! Findings that contradict each other. All sides are shown; where one clearly outweighs the others, that is said with the
//! reasons, and what lost leads to no advice.

use std::collections::{BTreeSet, HashMap};

use axon_protocol::{Conflict, Evidence, Finding, MergedFinding, Polarity};

use crate::SynthesizerConfig;
use crate::confidence::combined;
use crate::merge::{Joined, bare, place};
use crate::stated::{Contradiction, Date, Figure, Stated};
use crate::summary::cite;
use crate::words::{Vocabulary, similarity};

/// Least share of common words for two claims to be about one thing, where fields of the findings show that they differ.
const ABOUT_THE_SAME_MIN: f64 = 0.6;
/// The same where only the words of the claims show it.
const WORDED_ABOUT_THE_SAME_MIN: f64 = 0.75;
/// Findings of one subject that are compared with each other; a subject with more of them is a topic, not a subject.
const COMPARED_MAX: usize = 64;
/// Pieces of evidence of each side that are compared.
const EVIDENCE_COMPARED_MAX: usize = 32;
/// Sides that an explanation names.
const SIDES_SHOWN_MAX: usize = 4;
/// Endings of files that hold prose.
const PROSE: &[&str] = &["md", "txt", "rst", "adoc", "html"];

/// One kept finding with what the comparison needs beyond it.
pub(crate) struct Candidate<'a> {
    pub finding: &'a MergedFinding,
    /// What it was merged from.
    pub members: Vec<&'a Finding>,
}

/// All conflicts, and the ids of the findings that lost one.
pub(crate) struct Conflicts {
    pub all: Vec<Conflict>,
    pub outweighed: BTreeSet<String>,
}

/// Finds contradictions: one subject, claims about the same, and either the opposite direction, or figures, dates or
/// values that cannot both be right. One tool that measures two places measures two things.
pub(crate) fn conflicts(candidates: &[Candidate<'_>], config: &SynthesizerConfig) -> Conflicts {
    let pairs = Pairs::find(candidates, config);
    let mut groups = Joined::new(candidates.len());
    for (left, right) in pairs.found.keys() {
        groups.join(*left, *right);
    }
    let mut conflicts = Conflicts {
        all: Vec::new(),
        outweighed: BTreeSet::new(),
    };
    for group in groups.sets().into_iter().filter(|group| group.len() > 1) {
        let sides = sides(&group, candidates, &pairs);
        let conflict = weigh(&sides, &pairs, config);
        if conflict.resolved_by.is_some() {
            let lost = conflict.sides.iter().skip(1).flatten().cloned();
            conflicts.outweighed.extend(lost);
        }
        conflicts.all.push(conflict);
    }
    conflicts
}

/// The pairs of findings that contradict each other, the earlier one first.
struct Pairs {
    found: HashMap<(usize, usize), Contradiction>,
}

impl Pairs {
    fn find(candidates: &[Candidate<'_>], config: &SynthesizerConfig) -> Self {
        let mut vocabulary = Vocabulary::default();
        let mut subjects: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut claims = Vec::with_capacity(candidates.len());
        for (index, candidate) in candidates.iter().enumerate() {
            let stated = Stated::read(&candidate.finding.claim);
            let about = vocabulary.read(&stated.about).core;
            claims.push((stated, about));
            let subject = bare(&candidate.finding.subject);
            if !subject.is_empty() {
                subjects.entry(subject).or_default().push(index);
            }
        }
        let mut found = HashMap::new();
        for members in subjects.values() {
            let members = &members[..members.len().min(COMPARED_MAX)];
            for (at, left) in members.iter().enumerate() {
                for right in &members[at + 1..] {
                    let ((a, about), (b, other_about)) = (&claims[*left], &claims[*right]);
                    let alike = similarity(about, other_about);
                    if alike >= ABOUT_THE_SAME_MIN
                        && let Some(contradiction) =
                            contradiction((&candidates[*left], a), (&candidates[*right], b), alike, config)
                    {
                        found.insert((*left, *right), contradiction);
                    }
                }
            }
        }
        Self { found }
    }

    fn between(&self, left: usize, right: usize) -> Option<&Contradiction> {
        self.found.get(&(left.min(right), left.max(right)))
    }
}

fn contradiction(
    (left, a): (&Candidate<'_>, &Stated),
    (right, b): (&Candidate<'_>, &Stated),
    alike: f64,
    config: &SynthesizerConfig,
) -> Option<Contradiction> {
    if share_a_tool(left, right) && !overlap(&left.finding.evidence, &right.finding.evidence) {
        return None;
    }
    // A claim may say "not" itself, or be marked as the denial of what it says.
    let denies = |finding: &MergedFinding, stated: &Stated| finding.polarity == Polarity::Negative || stated.negated;
    let worded = alike >= WORDED_ABOUT_THE_SAME_MIN;
    if denies(left.finding, a) != denies(right.finding, b)
        && (worded || left.finding.polarity != right.finding.polarity)
    {
        return Some(Contradiction::Direction);
    }
    if let (Some(x), Some(y)) = (figure(left.finding), figure(right.finding))
        && x.differs(&y, config.conflict_tolerance)
    {
        return Some(Contradiction::Figures(x, y));
    }
    a.contradicts(b, config.conflict_tolerance)
        .filter(|found| worded && *found != Contradiction::Direction)
}

/// A figure without a unit is comparable with nothing.
fn figure(finding: &MergedFinding) -> Option<Figure> {
    let unit = finding.unit.as_deref().filter(|unit| !unit.is_empty())?;
    Some(Figure::new(finding.value?, unit))
}

fn share_a_tool(left: &Candidate<'_>, right: &Candidate<'_>) -> bool {
    let uses = |candidate: &Candidate<'_>, tool: &str| candidate.members.iter().any(|member| member.tool == tool);
    let mut tools = left.members.iter().map(|member| member.tool.as_str());
    tools.any(|tool| !tool.is_empty() && uses(right, tool))
}

fn overlap(left: &[Evidence], right: &[Evidence]) -> bool {
    left.iter().take(EVIDENCE_COMPARED_MAX).any(|evidence| {
        let (name, line, end_line) = place(evidence);
        right.iter().take(EVIDENCE_COMPARED_MAX).any(|other| {
            let (other_name, other_line, other_end) = place(other);
            name == other_name && line <= other_end && other_line <= end_line
        })
    })
}

/// Findings of a conflict that do not contradict each other.
struct Side<'a> {
    /// Their places among the candidates.
    places: Vec<usize>,
    findings: Vec<&'a MergedFinding>,
    /// Confidence of all of them, by how close their evidence is to the thing itself.
    weight: f64,
    origins: usize,
    closeness: Closeness,
}

/// How close evidence is to the thing itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// A page elsewhere: it may have changed, and nobody reads it again here.
    Page,
    /// What a tool said: its words are all there is.
    Tool,
    /// Prose beside the code: it can be out of date.
    Prose,
    /// The lines that are executed.
    Code,
}

impl Closeness {
    fn of(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Url { .. } => Closeness::Page,
            Evidence::ToolCall { .. } => Closeness::Tool,
            Evidence::Source { path, .. } => {
                let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
                if PROSE.iter().any(|prose| prose.eq_ignore_ascii_case(ending)) {
                    Closeness::Prose
                } else {
                    Closeness::Code
                }
            }
        }
    }

    /// Share of a confidence that counts in a conflict.
    fn share(self) -> f64 {
        match self {
            Closeness::Page => 0.7,
            Closeness::Tool => 0.8,
            Closeness::Prose => 0.9,
            Closeness::Code => 1.0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Closeness::Page => "a page",
            Closeness::Tool => "a tool's output",
            Closeness::Prose => "prose",
            Closeness::Code => "the code itself",
        }
    }
}

/// Puts the findings of a conflict on sides, the surest first: each joins the first side that it does not contradict.
fn sides<'a>(group: &[usize], candidates: &[Candidate<'a>], pairs: &Pairs) -> Vec<Side<'a>> {
    let mut members = group.to_vec();
    members.sort_by(|a, b| {
        let (left, right) = (candidates[*a].finding, candidates[*b].finding);
        right
            .confidence
            .total_cmp(&left.confidence)
            .then_with(|| left.id.cmp(&right.id))
    });
    let mut places: Vec<Vec<usize>> = Vec::new();
    for member in members {
        let agrees = |side: &&mut Vec<usize>| side.iter().all(|other| pairs.between(member, *other).is_none());
        match places.iter_mut().find(agrees) {
            Some(side) => side.push(member),
            None => places.push(vec![member]),
        }
    }
    let mut sides: Vec<Side<'a>> = places.into_iter().map(|places| side(places, candidates)).collect();
    sides.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then_with(|| a.findings[0].id.cmp(&b.findings[0].id))
    });
    sides
}

fn side<'a>(places: Vec<usize>, candidates: &[Candidate<'a>]) -> Side<'a> {
    let closeness = |finding: &Finding| {
        finding
            .evidence
            .iter()
            .map(Closeness::of)
            .max()
            .unwrap_or(Closeness::Page)
    };
    let weighted: Vec<Finding> = places
        .iter()
        .flat_map(|place| &candidates[*place].members)
        .map(|member| Finding {
            confidence: member.confidence * closeness(member).share(),
            ..(*member).clone()
        })
        .collect();
    let weighted: Vec<&Finding> = weighted.iter().collect();
    let (weight, origins) = combined(&weighted, 1.0);
    Side {
        findings: places.iter().map(|place| candidates[*place].finding).collect(),
        weight,
        origins,
        closeness: weighted
            .iter()
            .map(|finding| closeness(finding))
            .max()
            .unwrap_or(Closeness::Page),
        places,
    }
}

fn weigh(sides: &[Side<'_>], pairs: &Pairs, config: &SynthesizerConfig) -> Conflict {
    let (first, others) = (&sides[0], &sides[1..]);
    let odds = |side: &Side<'_>| side.weight / (1.0 - side.weight).max(f64::EPSILON);
    let clear = others
        .iter()
        .all(|other| odds(first) >= config.conflict_odds_min * odds(other) && first.weight > other.weight);
    let ids = |side: &Side<'_>| {
        side.findings
            .iter()
            .map(|finding| finding.id.clone())
            .collect::<Vec<_>>()
    };
    let explanation = format!(
        "{} {}",
        shown(sides, difference(first, &others[0], pairs)),
        if clear {
            format!("The first stands: {}.", reasons(first, &others[0]))
        } else {
            "None outweighs the other clearly: read the places.".to_owned()
        }
    );
    Conflict {
        subject: first.findings[0].subject.clone(),
        findings: sides.iter().flat_map(ids).collect(),
        sides: sides.iter().map(ids).collect(),
        resolved_by: clear.then(|| first.findings[0].id.clone()),
        explanation,
    }
}

fn shown(sides: &[Side<'_>], difference: String) -> String {
    let said: Vec<String> = sides
        .iter()
        .take(SIDES_SHOWN_MAX)
        .map(|side| {
            let finding = side.findings[0];
            format!("{} (confidence {:.0} %)", cite(finding), finding.confidence * 100.0)
        })
        .collect();
    let more = sides.len() - said.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}.{difference}", said.join(", but "))
}

/// In what the two strongest sides differ, where their words do not show it at once.
fn difference(first: &Side<'_>, second: &Side<'_>, pairs: &Pairs) -> String {
    let between = || {
        let pairs_of = |left: &usize| second.places.iter().find_map(|right| pairs.between(*left, *right));
        first.places.iter().find_map(pairs_of)
    };
    match between() {
        Some(Contradiction::Figures(a, b)) => format!(" {} against {}.", written(a), written(b)),
        Some(Contradiction::Dates(a, b)) => format!(" {} against {}.", dated(*a), dated(*b)),
        Some(Contradiction::Values(a, b)) => format!(" `{a}` against `{b}`."),
        Some(Contradiction::Direction) | None => String::new(),
    }
}

fn written(figure: &Figure) -> String {
    format!("{} {}", figure.value, figure.unit).trim_end().to_owned()
}

fn dated(date: Date) -> String {
    match (date.month, date.day) {
        (Some(month), Some(day)) => format!("{}-{month:02}-{day:02}", date.year),
        (Some(month), None) => format!("{}-{month:02}", date.year),
        _ => date.year.to_string(),
    }
}

/// In what the first side is ahead.
fn reasons(first: &Side<'_>, second: &Side<'_>) -> String {
    let mut reasons = Vec::new();
    if first.origins > second.origins {
        reasons.push(format!(
            "{} independent origins against {}",
            first.origins, second.origins
        ));
    }
    if first.closeness > second.closeness {
        reasons.push(format!(
            "it cites {}, the other {}",
            first.closeness.name(),
            second.closeness.name()
        ));
    }
    if first.findings[0].confidence > second.findings[0].confidence {
        reasons.push("it is surer".to_owned());
    }
    if reasons.is_empty() {
        reasons.push("all together it is surer".to_owned());
    }
    reasons.join("; ")
}

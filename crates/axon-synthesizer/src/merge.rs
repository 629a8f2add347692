//! Which findings say the same. It decides over pairs found through buckets of place and words, never over all pairs,
//! and never puts findings together that contradict each other.

use std::collections::HashMap;

use axon_protocol::{Evidence, Polarity};

use crate::SynthesizerConfig;
use crate::finding::Kept;
use crate::stated::Stated;
use crate::words::{Vocabulary, Words, nested, similarity};

/// Neighbours one finding is compared with in one bucket. Buckets are sorted, so the nearest come first; more of them
/// with different words at one place are different findings anyway.
const NEIGHBOURS_MAX: usize = 32;

/// Sets whose members are joined step by step.
pub(crate) struct Joined(Vec<usize>);

impl Joined {
    pub fn new(size: usize) -> Self {
        Self((0..size).collect())
    }

    pub fn root(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    pub fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.root(left), self.root(right));
        // The earlier member leads, so that the result does not depend on the order of joining.
        self.0[left.max(right)] = left.min(right);
    }

    /// The sets, each sorted, in the order of their first members.
    pub fn sets(mut self) -> Vec<Vec<usize>> {
        let mut sets: Vec<Vec<usize>> = Vec::new();
        let mut place = vec![usize::MAX; self.0.len()];
        for member in 0..self.0.len() {
            let root = self.root(member);
            if place[root] == usize::MAX {
                place[root] = sets.len();
                sets.push(Vec::new());
            }
            sets[place[root]].push(member);
        }
        sets
    }
}

/// Where a piece of evidence points: a file with lines, or anything else with none.
pub(crate) fn place(evidence: &Evidence) -> (String, u32, u32) {
    match evidence {
        Evidence::Source {
            path, line, end_line, ..
        } => (path.clone(), *line, (*end_line).max(*line)),
        Evidence::Url { url, quote } => (format!("{url} {quote}"), 0, 0),
        Evidence::ToolCall { tool, params, quote } => (format!("{tool} {params} {quote}"), 0, 0),
    }
}

/// The subject as it is compared: without the marks around a name.
pub(crate) fn bare(subject: &str) -> &str {
    subject.trim_matches('`').trim_end_matches("()")
}

/// What two findings must have in common to say the same, however alike their words: a figure, a date or a direction that
/// differs is a contradiction, not a repeat.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Stance<'a> {
    polarity: Polarity,
    value: Option<u64>,
    unit: Option<&'a str>,
    stated: String,
}

fn stance(kept: &Kept) -> Stance<'_> {
    let finding = &kept.finding;
    Stance {
        polarity: finding.polarity,
        value: finding.value.map(f64::to_bits),
        unit: finding.unit.as_deref(),
        stated: Stated::read(&finding.claim).key(),
    }
}

/// What is compared.
struct Claims<'a> {
    findings: &'a [Kept],
    words: &'a [Words],
    stances: &'a [Stance<'a>],
    config: &'a SynthesizerConfig,
}

/// The findings that say the same, by index, the sets in the order of their first members.
pub(crate) fn sets(
    findings: &[Kept],
    words: &[Words],
    vocabulary: &Vocabulary,
    config: &SynthesizerConfig,
) -> Vec<Vec<usize>> {
    let mut joined = Joined::new(findings.len());
    let stances: Vec<Stance<'_>> = findings.iter().map(stance).collect();
    let claims = Claims {
        findings,
        words,
        stances: &stances,
        config,
    };
    let distinct = join_equal(&claims, &mut joined);
    join_same_place(&claims, &mut joined);
    join_same_subject(&claims, &distinct, vocabulary, &mut joined);
    joined.sets()
}

/// Joins findings with equal words about one subject; returns the first of each. What comes after compares these only,
/// so that a repeat changes nothing but the counts.
fn join_equal(claims: &Claims<'_>, joined: &mut Joined) -> Vec<usize> {
    let mut first = HashMap::new();
    let mut distinct = Vec::new();
    for (index, kept) in claims.findings.iter().enumerate() {
        let words = &claims.words[index];
        let key = (
            &claims.stances[index],
            bare(&kept.finding.subject),
            &words.all,
            &words.marks,
        );
        match first.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => joined.join(*entry.get(), index),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(index);
                distinct.push(index);
            }
        }
    }
    distinct
}

/// Joins findings whose evidence overlaps and whose words are alike enough. Of equal findings the first stands for all
/// their places.
fn join_same_place(claims: &Claims<'_>, joined: &mut Joined) {
    let mut places: HashMap<String, Vec<(u32, u32, usize)>> = HashMap::new();
    for (index, kept) in claims.findings.iter().enumerate() {
        let first = joined.root(index);
        for evidence in &kept.finding.evidence {
            let (file, line, end_line) = place(evidence);
            places.entry(file).or_default().push((line, end_line, first));
        }
    }
    for spots in places.values_mut() {
        spots.sort_unstable();
        spots.dedup();
        for (at, (line, end_line, left)) in spots.iter().enumerate() {
            let overlapping = spots[at + 1..]
                .iter()
                .take_while(|(start, _, _)| start <= end_line)
                .take(NEIGHBOURS_MAX);
            for (start, _, right) in overlapping {
                if left != right && same_at_one_place(claims, (*left, *right), line == start) {
                    joined.join(*left, *right);
                }
            }
        }
    }
}

fn same_at_one_place(claims: &Claims<'_>, (left, right): (usize, usize), same_line: bool) -> bool {
    let (a, b) = (&claims.findings[left], &claims.findings[right]);
    let same_rule = !a.finding.tool.is_empty() && a.finding.tool == b.finding.tool;
    if claims.stances[left] != claims.stances[right] || !(a.aspect == b.aspect || same_rule) {
        return false;
    }
    let (a, b) = (&claims.words[left], &claims.words[right]);
    let alike = similarity(&a.all, &b.all);
    if same_line {
        return alike >= claims.config.same_place_similarity_threshold;
    }
    alike >= claims.config.overlap_similarity_threshold && nested(&a.marks, &b.marks)
}

/// Joins findings about one subject whose words are nearly all the same, identifiers and numbers included.
fn join_same_subject(claims: &Claims<'_>, distinct: &[usize], vocabulary: &Vocabulary, joined: &mut Joined) {
    let threshold = claims.config.similarity_threshold;
    let mut buckets: HashMap<_, Vec<usize>> = HashMap::new();
    for index in distinct {
        let (kept, words) = (&claims.findings[*index], &claims.words[*index]);
        for word in vocabulary.signature(words, threshold) {
            let key = (&claims.stances[*index], bare(&kept.finding.subject), &words.marks, word);
            buckets.entry(key).or_default().push(*index);
        }
    }
    for bucket in buckets.values() {
        for (at, left) in bucket.iter().enumerate() {
            for right in bucket[at + 1..].iter().take(NEIGHBOURS_MAX) {
                if similarity(&claims.words[*left].all, &claims.words[*right].all) >= threshold {
                    joined.join(*left, *right);
                }
            }
        }
    }
}

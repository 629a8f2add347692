//! Which findings say the same. It decides over pairs found through buckets of place and words, never over all pairs,
//! and never puts findings together that contradict each other.

use std::collections::HashMap;

use axon_protocol::{Evidence, Polarity};

use crate::SynthesizerConfig;
use crate::finding::Kept;
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
pub(crate) fn subject(finding: &axon_protocol::Finding) -> &str {
    finding.subject.trim_matches('`').trim_end_matches("()")
}

/// What two findings must have in common to say the same, however alike their words: a figure or a direction that
/// differs is a contradiction, not a repeat.
fn stance(kept: &Kept) -> (Polarity, Option<u64>, Option<&str>) {
    let finding = &kept.finding;
    (
        finding.polarity,
        finding.value.map(f64::to_bits),
        finding.unit.as_deref(),
    )
}

/// The findings that say the same, by index, the sets in the order of their first members.
pub(crate) fn sets(
    findings: &[Kept],
    words: &[Words],
    vocabulary: &Vocabulary,
    config: &SynthesizerConfig,
) -> Vec<Vec<usize>> {
    let mut joined = Joined::new(findings.len());
    let distinct = join_equal(findings, words, &mut joined);
    join_same_place(findings, words, config, &mut joined);
    join_same_subject(findings, words, &distinct, vocabulary, config, &mut joined);
    joined.sets()
}

/// Joins findings with equal words about one subject; returns the first of each. What comes after compares these only,
/// so that a repeat changes nothing but the counts.
fn join_equal(findings: &[Kept], words: &[Words], joined: &mut Joined) -> Vec<usize> {
    let mut first = HashMap::new();
    let mut distinct = Vec::new();
    for (index, kept) in findings.iter().enumerate() {
        let key = (
            stance(kept),
            subject(&kept.finding),
            &words[index].all,
            &words[index].marks,
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
fn join_same_place(findings: &[Kept], words: &[Words], config: &SynthesizerConfig, joined: &mut Joined) {
    let mut places: HashMap<String, Vec<(u32, u32, usize)>> = HashMap::new();
    for (index, kept) in findings.iter().enumerate() {
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
                if left != right && same_at_one_place(findings, words, (*left, *right), line == start, config) {
                    joined.join(*left, *right);
                }
            }
        }
    }
}

fn same_at_one_place(
    findings: &[Kept],
    words: &[Words],
    (left, right): (usize, usize),
    same_line: bool,
    config: &SynthesizerConfig,
) -> bool {
    let (a, b) = (&findings[left], &findings[right]);
    let same_rule = !a.finding.tool.is_empty() && a.finding.tool == b.finding.tool;
    if stance(a) != stance(b) || !(a.aspect == b.aspect || same_rule) {
        return false;
    }
    let alike = similarity(&words[left].all, &words[right].all);
    if same_line {
        return alike >= config.same_place_similarity_threshold;
    }
    alike >= config.overlap_similarity_threshold && nested(&words[left].marks, &words[right].marks)
}

/// Joins findings about one subject whose words are nearly all the same, identifiers and numbers included.
fn join_same_subject(
    findings: &[Kept],
    words: &[Words],
    distinct: &[usize],
    vocabulary: &Vocabulary,
    config: &SynthesizerConfig,
    joined: &mut Joined,
) {
    let mut buckets: HashMap<_, Vec<usize>> = HashMap::new();
    for index in distinct {
        let kept = &findings[*index];
        for word in vocabulary.signature(&words[*index], config.similarity_threshold) {
            let key = (stance(kept), subject(&kept.finding), &words[*index].marks, word);
            buckets.entry(key).or_default().push(*index);
        }
    }
    for bucket in buckets.values() {
        for (at, left) in bucket.iter().enumerate() {
            for right in bucket[at + 1..].iter().take(NEIGHBOURS_MAX) {
                if similarity(&words[*left].all, &words[*right].all) >= config.similarity_threshold {
                    joined.join(*left, *right);
                }
            }
        }
    }
}

//! How sure several findings together are. Agreement counts only between independent origins: two workers that quote the
//! same lines have read one source, not two.

use std::collections::HashMap;

use axon_protocol::{Evidence, Finding};

use crate::merge::{Joined, place};

/// Noisy-or over independent origins, each as sure as its surest finding: `1 - Π(1 - cᵢ)`, at most `most` unless a
/// single finding is surer than that already; and how many origins there are.
pub(crate) fn combined(findings: &[&Finding], most: f64) -> (f64, usize) {
    let mut surest: HashMap<usize, f64> = HashMap::new();
    for (finding, origin) in findings.iter().zip(origins(findings)) {
        let confidence = surest.entry(origin).or_insert(0.0);
        *confidence = confidence.max(finding.confidence);
    }
    // Floating-point products depend on the order of their factors; sorting makes the answer independent of it.
    let mut confidences: Vec<f64> = surest.into_values().collect();
    confidences.sort_by(f64::total_cmp);
    let surest = confidences.last().copied().unwrap_or(0.0);
    if confidences.len() < 2 {
        return (surest, confidences.len());
    }
    let doubt: f64 = confidences.iter().map(|confidence| 1.0 - confidence).product();
    ((1.0 - doubt).min(most).max(surest), confidences.len())
}

/// The origin of each finding as a number: equal where the origin is named the same, or where evidence overlaps.
pub(crate) fn origins(findings: &[&Finding]) -> Vec<usize> {
    let mut joined = Joined::new(findings.len());
    let mut named: HashMap<&str, usize> = HashMap::new();
    let mut places: HashMap<String, Vec<(u32, u32, usize)>> = HashMap::new();
    for (index, finding) in findings.iter().enumerate() {
        if !finding.origin.is_empty() {
            let first = *named.entry(&finding.origin).or_insert(index);
            joined.join(first, index);
        }
        for evidence in &finding.evidence {
            let (name, line, end_line) = place(evidence);
            places.entry(name).or_default().push((line, end_line, index));
            if let Evidence::Url { url, .. } = evidence {
                // One page is one source, whichever passage of it is quoted.
                places.entry(url.clone()).or_default().push((0, 0, index));
            }
        }
    }
    for spots in places.values_mut() {
        spots.sort_unstable();
        let (mut reach, mut last) = (0, None);
        for (line, end_line, index) in spots.iter() {
            match last {
                Some(last) if *line <= reach => joined.join(last, *index),
                _ => {}
            }
            reach = reach.max(*end_line);
            last = Some(*index);
        }
    }
    (0..findings.len()).map(|index| joined.root(index)).collect()
}

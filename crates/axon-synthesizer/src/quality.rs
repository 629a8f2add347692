//! The measures of an answer, by the formulas that the protocol documents. They describe; nothing is decided by them here.

use axon_protocol::QualityMetrics;

/// What the measures are computed from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Aspects planned; none where only outputs were to be had.
    pub aspects: usize,
    /// Those of them with a kept finding.
    pub aspects_found: usize,
    /// Tasks delegated.
    pub tasks: usize,
    /// Those of them with a complete result.
    pub tasks_complete: usize,
    /// Those of them that contribute to a kept finding.
    pub tasks_contributing: usize,
    /// Findings reported, those left out included.
    pub reported: usize,
    /// Findings merged into others.
    pub merged_away: usize,
    /// Findings kept.
    pub kept: usize,
    /// Sum of the combined confidences of the kept findings.
    pub confidence_sum: f64,
    /// Contradictions found.
    pub conflicts: usize,
    /// Those of them that were settled.
    pub conflicts_resolved: usize,
}

/// The measures. A plan without aspects (one that came with its query) is as complete as its tasks are. Without findings
/// there is no confidence to average: consistency is 0.
pub(crate) fn metrics(counts: &Counts) -> QualityMetrics {
    QualityMetrics {
        completeness: if counts.aspects == 0 {
            share(counts.tasks_complete, counts.tasks, 0.0)
        } else {
            share(counts.aspects_found, counts.aspects, 0.0)
        },
        consistency: if counts.kept == 0 {
            0.0
        } else {
            counts.confidence_sum / counts.kept as f64
        },
        coverage: share(counts.tasks_contributing, counts.tasks, 0.0),
        redundancy: share(counts.merged_away, counts.reported, 0.0),
        conflict_resolution: share(counts.conflicts_resolved, counts.conflicts, 1.0),
        plan_coverage: share(counts.tasks_complete, counts.tasks, 0.0),
    }
}

fn share(part: usize, whole: usize, of_nothing: f64) -> f64 {
    if whole == 0 {
        of_nothing
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: Counts, expected: [f64; 6]) {
        let metrics = metrics(&counts);
        let measured = [
            metrics.completeness,
            metrics.consistency,
            metrics.coverage,
            metrics.redundancy,
            metrics.conflict_resolution,
            metrics.plan_coverage,
        ];
        assert_eq!(measured, expected, "{counts:?}");
    }

    #[test]
    fn measures_follow_their_formulas() {
        check(Counts::default(), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        check(
            Counts {
                aspects: 4,
                aspects_found: 3,
                tasks: 8,
                tasks_complete: 6,
                tasks_contributing: 2,
                reported: 10,
                merged_away: 5,
                kept: 4,
                confidence_sum: 3.0,
                conflicts: 2,
                conflicts_resolved: 1,
            },
            [0.75, 0.75, 0.25, 0.5, 0.5, 0.75],
        );
        let own_plan = Counts {
            tasks: 10,
            tasks_complete: 9,
            ..Counts::default()
        };
        check(own_plan, [0.9, 0.0, 0.0, 0.0, 1.0, 0.9]);
    }
}

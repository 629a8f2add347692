//! The thresholds of the synthesis, each with the reason for its default. It never reads files or the environment.

use serde::{Deserialize, Serialize};

/// Who writes the summary of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SummaryBy {
    /// A language model where one is configured.
    #[default]
    Auto,
    /// The synthesizer itself.
    Rules,
}

/// What the synthesis counts as equal, sure or contradictory. The section `[synthesizer]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SynthesizerConfig {
    /// Two claims about one subject say the same when this share of their words is common (words of both ÷ words of
    /// either), 0 to 1. Default 0.8: one word in ten may differ on each side; identifiers and numbers never may.
    pub similarity_threshold: f64,
    /// The same for claims whose evidence overlaps, 0 to 1. Default 0.5: the place already says that they are related,
    /// so half of the words is enough, but a claim about a function does not swallow one about a line of it.
    pub overlap_similarity_threshold: f64,
    /// The same for claims whose evidence begins at the same line, 0 to 1. Default 0.34: two people describe one defect
    /// in different words; with less than a third in common it is another defect of the same line.
    pub same_place_similarity_threshold: f64,
    /// Most that independent origins together can make of a confidence, 0 to 1. Default 0.99: agreement is no proof.
    pub combined_confidence_max: f64,
    /// Least confidence of a finding that leads to a recommendation, 0 to 1. Default 0.6: advice costs the reader work,
    /// so it should be right more often than not, with a margin.
    pub recommendation_confidence_min: f64,
    /// Figures that differ by no more than this share of the larger one agree, 0 to 1. Default 0.05: measurements of one
    /// thing by two tools differ by rounding and counting rules, rarely by more.
    pub conflict_tolerance: f64,
    /// A side of a conflict stands when its odds (confidence ÷ doubt, of all its origins together) are at least this many
    /// times those of every other side; 1 or more. Default 4: sureness of 90 % outweighs one of 69 %, but not one of 70 %.
    pub conflict_odds_min: f64,
    /// Share of a sentence's words that a finding must hold to support it, 0 to 1; identifiers and figures must all be there.
    /// Default 0.6: a sentence may join and introduce in its own words, but must say what the finding says.
    pub citation_support_min: f64,
    /// Who writes the summary: `auto` is a language model where the section `[model]` names one, paid from what is kept for
    /// the synthesis, and `rules` never is. Default `auto`.
    pub summary_by: SummaryBy,
    /// Largest encoded answer, in bytes. Default 240 KiB: below the 256 KiB above which messages go by reference, so that
    /// any client can read an answer without knowing the object store. What does not fit is the least important and is
    /// counted in the answer.
    pub answer_bytes_max: usize,
    /// Syntheses at once in one process. Default 8: they wait for the network more than they compute.
    pub slots: usize,
    /// Seconds that syntheses under way are given to end after the first signal. Default 10.
    pub drain_timeout_s: u64,
}

impl Default for SynthesizerConfig {
    fn default() -> Self {
        Self {
            similarity_threshold: 0.8,
            overlap_similarity_threshold: 0.5,
            same_place_similarity_threshold: 0.34,
            combined_confidence_max: 0.99,
            recommendation_confidence_min: 0.6,
            conflict_tolerance: 0.05,
            conflict_odds_min: 4.0,
            citation_support_min: 0.6,
            summary_by: SummaryBy::Auto,
            answer_bytes_max: 240 * 1024,
            slots: 8,
            drain_timeout_s: 10,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A share that is none.
    #[error("synthesizer.{0} is {1}: use a number from 0 to 1")]
    Share(&'static str, f64),
    /// A factor that would let the weaker side win.
    #[error("synthesizer.{0} is {1}: use a number of at least 1")]
    Factor(&'static str, f64),
    /// A size or a number that is too small to work with.
    #[error("synthesizer.{0} is {1}: use at least {2}")]
    TooSmall(&'static str, usize, usize),
}

/// Below this an answer could not name what is missing.
const ANSWER_BYTES_MIN: usize = 16 * 1024;

impl SynthesizerConfig {
    /// Checks every value against its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("similarity_threshold", self.similarity_threshold),
            ("overlap_similarity_threshold", self.overlap_similarity_threshold),
            ("same_place_similarity_threshold", self.same_place_similarity_threshold),
            ("combined_confidence_max", self.combined_confidence_max),
            ("recommendation_confidence_min", self.recommendation_confidence_min),
            ("conflict_tolerance", self.conflict_tolerance),
            ("citation_support_min", self.citation_support_min),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(ConfigError::Share(name, value));
            }
        }
        if !(1.0..).contains(&self.conflict_odds_min) {
            return Err(ConfigError::Factor("conflict_odds_min", self.conflict_odds_min));
        }
        for (name, value, least) in [
            ("answer_bytes_max", self.answer_bytes_max, ANSWER_BYTES_MIN),
            ("slots", self.slots, 1),
        ] {
            if value < least {
                return Err(ConfigError::TooSmall(name, value, least));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_range_are_named() {
        assert_eq!(SynthesizerConfig::default().check(), Ok(()));
        for (config, expected) in [
            (
                SynthesizerConfig {
                    conflict_tolerance: 1.5,
                    ..SynthesizerConfig::default()
                },
                "synthesizer.conflict_tolerance is 1.5",
            ),
            (
                SynthesizerConfig {
                    similarity_threshold: f64::NAN,
                    ..SynthesizerConfig::default()
                },
                "synthesizer.similarity_threshold is NaN",
            ),
            (
                SynthesizerConfig {
                    conflict_odds_min: 0.5,
                    ..SynthesizerConfig::default()
                },
                "synthesizer.conflict_odds_min is 0.5: use a number of at least 1",
            ),
            (
                SynthesizerConfig {
                    slots: 0,
                    ..SynthesizerConfig::default()
                },
                "synthesizer.slots is 0: use at least 1",
            ),
        ] {
            let error = config.check().expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

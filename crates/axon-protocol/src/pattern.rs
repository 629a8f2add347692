//! Patterns: what became of one kind of query, as far as it says how the next one is better worked on. Data only; they are
//! mined elsewhere, and every one can be said in a sentence.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complexity, Digest, Shape, counted};

/// Hexadecimal digits of a pattern's key.
const KEY_DIGITS: usize = 12;

/// A kind of query: those for which all of it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub struct QueryKind {
    /// Words they hold, in lower case and without a plural.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Their shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Their complexity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity: Option<Complexity>,
    /// The strategy that their own words speak for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaning: Option<String>,
}

/// What may happen to the tasks of a query on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A task failed and was tried again.
    Retries,
    /// A task changed hands: it was handed back, executed a second time, or its query was taken over.
    HandOvers,
    /// Findings contradict each other.
    Conflicts,
}

/// What a pattern says of a kind of query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Lesson {
    /// One strategy succeeds more often than another.
    Strategy {
        /// The one that does.
        follow: String,
        /// The other.
        instead_of: String,
    },
    /// So many tasks are enough: no more of them contributed to the answer, however many there were.
    Enough {
        /// The strategy followed.
        strategy: String,
        /// The number of tasks.
        tasks: usize,
    },
    /// So many tasks are needed: with fewer, fewer queries succeed.
    Needed {
        /// The strategy followed.
        strategy: String,
        /// The number of tasks.
        tasks: usize,
    },
    /// An aspect that nobody asked for keeps yielding findings.
    Fruitful {
        /// The strategy followed.
        strategy: String,
        /// The aspect.
        aspect: String,
    },
    /// An aspect that nobody asked for yields next to nothing.
    Barren {
        /// The strategy followed.
        strategy: String,
        /// The aspect.
        aspect: String,
    },
    /// Findings of a tool are kept.
    Tool {
        /// The strategy followed.
        strategy: String,
        /// The tool.
        tool: String,
    },
    /// The work does not go smoothly.
    Trouble {
        /// The strategy followed.
        strategy: String,
        /// What happens.
        trouble: Trouble,
    },
}

/// What the fleet has learnt of a kind of query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pattern {
    /// The kind of query.
    pub when: QueryKind,
    /// Words that went with `when` in every query of its evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub along: Vec<String>,
    /// What it says.
    pub lesson: Lesson,
    /// Queries it rests on; old ones count less.
    pub support: f64,
    /// Share of them for which it held, from 0 to 1.
    pub rate: f64,
    /// What that share surely is: its bound towards `compared`.
    pub confidence: f64,
    /// The share among what it is compared with.
    pub compared: f64,
    /// What it is compared with, in words.
    pub compared_with: String,
    /// The latest query of its evidence.
    pub at: DateTime<Utc>,
}

/// A pattern as the bucket of patterns holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternRecord {
    /// The pattern.
    pub pattern: Pattern,
    /// The latest query that whoever wrote this knew: who knows less does not change it.
    pub known_to: DateTime<Utc>,
    /// When somebody removed it. It stays as a marker, so that the same evidence does not bring it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<DateTime<Utc>>,
}

/// What a pattern changed of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedPattern {
    /// Key of the pattern.
    pub key: String,
    /// What it says, and what it changed.
    pub effect: String,
}

impl Pattern {
    /// Its key: the same kind of query and the same lesson have the same one, whatever their figures.
    pub fn key(&self) -> String {
        let text = serde_json::to_string(&(&self.when, &self.lesson)).unwrap_or_default();
        Digest::of(text.as_bytes()).hex().chars().take(KEY_DIGITS).collect()
    }

    /// The strategy it is about: the one that is better, or the one that was followed.
    pub fn strategy(&self) -> &str {
        match &self.lesson {
            Lesson::Strategy { follow, .. } => follow,
            Lesson::Enough { strategy, .. }
            | Lesson::Needed { strategy, .. }
            | Lesson::Fruitful { strategy, .. }
            | Lesson::Barren { strategy, .. }
            | Lesson::Tool { strategy, .. }
            | Lesson::Trouble { strategy, .. } => strategy,
        }
    }
}

impl Lesson {
    /// The word for its kind.
    pub fn as_str(&self) -> &'static str {
        match self {
            Lesson::Strategy { .. } => "strategy",
            Lesson::Enough { .. } | Lesson::Needed { .. } => "allocation",
            Lesson::Fruitful { .. } | Lesson::Barren { .. } => "aspects",
            Lesson::Tool { .. } => "tools",
            Lesson::Trouble { .. } => "messages",
        }
    }

    /// What a lead does by it.
    pub fn changes(&self) -> String {
        match self {
            Lesson::Strategy { follow, .. } => format!("{follow} scores higher"),
            Lesson::Enough { tasks, .. } => format!("{} at most", counted(*tasks, "task")),
            Lesson::Needed { tasks, .. } => format!("{} at least", counted(*tasks, "task")),
            Lesson::Fruitful { aspect, .. } => format!("“{aspect}” comes first where nobody asks for aspects"),
            Lesson::Barren { aspect, .. } => format!("“{aspect}” is left out where nobody asks for it"),
            Lesson::Tool { tool, .. } => format!("{tool} is recommended to the tasks"),
            Lesson::Trouble {
                trouble: Trouble::Conflicts,
                ..
            } => "tasks are asked what says otherwise".to_owned(),
            Lesson::Trouble { .. } => "the estimate says so".to_owned(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Retries => "tasks fail and are tried again",
            Trouble::HandOvers => "tasks change hands",
            Trouble::Conflicts => "findings contradict each other",
        })
    }
}

impl fmt::Display for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lesson::Strategy { follow, instead_of } => write!(f, "{follow} succeeds more often than {instead_of}"),
            Lesson::Enough { strategy, tasks } => write!(f, "{tasks} of the tasks of {strategy} are enough"),
            Lesson::Needed { strategy, tasks } => {
                write!(f, "{strategy} succeeds more often with {tasks} tasks or more")
            }
            Lesson::Fruitful { strategy, aspect } => write!(f, "“{aspect}” keeps yielding findings with {strategy}"),
            Lesson::Barren { strategy, aspect } => write!(f, "“{aspect}” yields next to nothing with {strategy}"),
            Lesson::Tool { strategy, tool } => write!(f, "findings of {tool} are kept with {strategy}"),
            Lesson::Trouble { strategy, trouble } => write!(f, "{trouble} with {strategy}"),
        }
    }
}

impl fmt::Display for QueryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kind = Vec::new();
        kind.extend(self.complexity.map(|complexity| complexity.to_string()));
        kind.extend(self.shape.map(|shape| shape.to_string()));
        let mut text = match kind.is_empty() {
            true => "queries".to_owned(),
            false => format!("{} queries", kind.join(" ")),
        };
        if !self.words.is_empty() {
            text.push_str(&format!(" with “{}”", self.words.join("”, “")));
        }
        if let Some(leaning) = &self.leaning {
            text.push_str(&format!(" that read like {leaning}"));
        }
        f.write_str(&text)
    }
}

/// One sentence, without its full stop.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.confidence <= self.rate {
            "at least"
        } else {
            "at most"
        };
        write!(
            f,
            "for {}, {}: {:.0} % of {:.1}, {bound} {:.0} %, against {:.0} % {}",
            self.when,
            self.lesson,
            self.rate * 100.0,
            self.support,
            self.confidence * 100.0,
            self.compared * 100.0,
            self.compared_with
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(lesson: Lesson, rate: f64, confidence: f64) -> Pattern {
        Pattern {
            when: QueryKind {
                words: vec!["cache".to_owned()],
                complexity: Some(Complexity::Medium),
                leaning: Some("code_review".to_owned()),
                ..QueryKind::default()
            },
            along: Vec::new(),
            lesson,
            support: 12.34,
            rate,
            confidence,
            compared: 0.5,
            compared_with: "with code_review".to_owned(),
            at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_pattern_is_a_sentence_and_its_key_does_not_hang_on_its_figures() {
        let better = || Lesson::Strategy {
            follow: "research".to_owned(),
            instead_of: "code_review".to_owned(),
        };
        let barren = Lesson::Barren {
            strategy: "research".to_owned(),
            aspect: "limits".to_owned(),
        };
        let one = pattern(better(), 0.9, 0.75);
        assert_eq!(
            one.to_string(),
            "for medium queries with “cache” that read like code_review, research succeeds more often than code_review: \
             90 % of 12.3, at least 75 %, against 50 % with code_review"
        );
        assert!(pattern(barren.clone(), 0.0, 0.1).to_string().contains("at most 10 %"));
        assert_eq!(one.key(), pattern(better(), 0.8, 0.7).key());
        assert_ne!(one.key(), pattern(barren, 0.8, 0.7).key());
        assert_eq!(one.key().len(), KEY_DIGITS);
    }
}

//! What patterns change of a plan once its strategy is chosen: the number of tasks, the aspects that nobody asked for, and what
//! workers are told. Pure; each change is justified by its pattern, and nothing that the query asks for is left out.

use axon_protocol::{AppliedPattern, DelegationTemplate, Lesson, Pattern, SelectedStrategy, Trouble};

use crate::strategy::strategy_patterns;

/// Tools that are recommended to a task.
const TOOLS_MAX: usize = 3;

/// What the patterns for a query say of a strategy.
#[derive(Debug, Clone, Default)]
pub struct Advice {
    /// The patterns, the surest first.
    patterns: Vec<Pattern>,
}

impl Advice {
    /// That of the patterns for a query, for the strategy it follows; a generated one has that of its own evidence only.
    pub fn of(patterns: &[Pattern], strategy: &str) -> Self {
        let about =
            |pattern: &&Pattern| pattern.strategy() == strategy && !matches!(pattern.lesson, Lesson::Strategy { .. });
        let mut patterns: Vec<Pattern> = patterns.iter().filter(about).cloned().collect();
        patterns.sort_by(|a, b| {
            b.confidence
                .total_cmp(&a.confidence)
                .then_with(|| a.lesson.cmp(&b.lesson))
        });
        Self { patterns }
    }

    /// The number of tasks for a query that names so many aspects, where the allocation is `allocated` and its class has
    /// `most`; with the pattern that changes it.
    pub fn tasks(&self, allocated: usize, most: usize, asked: usize) -> (usize, Option<AppliedPattern>) {
        let enough = self.patterns.iter().filter_map(|pattern| match pattern.lesson {
            Lesson::Enough { tasks, .. } if tasks.max(asked) < allocated => Some((tasks.max(asked), pattern)),
            _ => None,
        });
        let needed = self.patterns.iter().filter_map(|pattern| match pattern.lesson {
            Lesson::Needed { tasks, .. } if tasks.min(most) > allocated => Some((tasks.min(most), pattern)),
            _ => None,
        });
        // Where they contradict each other, a task too many does less harm than one too few.
        let changed = needed
            .max_by_key(|(tasks, _)| *tasks)
            .or_else(|| enough.max_by_key(|(tasks, _)| *tasks));
        match changed {
            Some((tasks, pattern)) => {
                let what = format!(
                    "{} instead of {allocated}",
                    axon_protocol::counted(tasks.max(1), "task")
                );
                (tasks.max(1), Some(applied(pattern, &what)))
            }
            None => (allocated, None),
        }
    }

    /// The templates that share the work of a query which names no aspects, at most `most`: fruitful ones first, barren ones
    /// not at all; with the patterns that change which they are.
    pub fn templates<'a>(
        &self,
        sharing: Vec<&'a DelegationTemplate>,
        most: usize,
    ) -> (Vec<&'a DelegationTemplate>, Vec<AppliedPattern>) {
        let barren = |template: &DelegationTemplate| {
            self.patterns
                .iter()
                .find(|pattern| matches!(&pattern.lesson, Lesson::Barren { aspect, .. } if *aspect == template.aspect))
        };
        let fruitful = |template: &DelegationTemplate| {
            self.patterns.iter().find(
                |pattern| matches!(&pattern.lesson, Lesson::Fruitful { aspect, .. } if *aspect == template.aspect),
            )
        };
        let usual: Vec<&DelegationTemplate> = sharing.iter().copied().take(most).collect();
        let mut kept: Vec<&DelegationTemplate> = sharing
            .into_iter()
            .filter(|template| barren(template).is_none())
            .collect();
        if kept.is_empty() {
            return (usual, Vec::new());
        }
        kept.sort_by_key(|template| fruitful(template).is_none());
        kept.truncate(most);
        let has = |list: &[&DelegationTemplate], one: &DelegationTemplate| {
            list.iter().any(|other| other.aspect == one.aspect)
        };
        let left_out = usual.iter().filter(|one| !has(&kept, one)).filter_map(|template| {
            Some(applied(
                barren(template)?,
                &format!("“{}” is left out", template.aspect),
            ))
        });
        let added = kept.iter().filter(|one| !has(&usual, one)).filter_map(|template| {
            Some(applied(
                fruitful(template)?,
                &format!("“{}” is looked at", template.aspect),
            ))
        });
        let applied = left_out.chain(added).collect();
        (kept, applied)
    }

    /// The tools whose findings are kept, of those that a task may use, with the patterns that say so.
    pub fn tools(&self, allowed: impl Fn(&str) -> bool) -> Vec<(String, AppliedPattern)> {
        let tools = self.patterns.iter().filter_map(|pattern| match &pattern.lesson {
            Lesson::Tool { tool, .. } if allowed(tool) => Some((
                tool.clone(),
                applied(pattern, &format!("{tool} is recommended to its tasks")),
            )),
            _ => None,
        });
        tools.take(TOOLS_MAX).collect()
    }

    /// The pattern that tells of some trouble, where one does.
    pub fn trouble(&self, trouble: Trouble) -> Option<&Pattern> {
        let told = |pattern: &&Pattern| matches!(pattern.lesson, Lesson::Trouble { trouble: of, .. } if of == trouble);
        self.patterns.iter().find(told)
    }
}

/// The pattern that made a query follow its strategy, where one did and it is no trial.
pub fn followed(patterns: &[Pattern], selected: &SelectedStrategy) -> Option<AppliedPattern> {
    let leaning = selected.leaning.as_deref()?;
    let surest = |a: &&Pattern, b: &&Pattern| a.confidence.total_cmp(&b.confidence);
    let pattern = strategy_patterns(patterns, &selected.name, leaning)
        .filter(|_| !selected.trial)
        .max_by(surest)?;
    Some(applied(pattern, &format!("{} instead of {leaning}", selected.name)))
}

/// A pattern with what it changes.
pub(crate) fn applied(pattern: &Pattern, what: &str) -> AppliedPattern {
    AppliedPattern {
        key: pattern.key(),
        effect: format!("{what}: {pattern}"),
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::QueryKind;
    use chrono::DateTime;

    use super::*;
    use crate::strategy::Library;

    fn pattern(lesson: Lesson) -> Pattern {
        Pattern {
            when: QueryKind::default(),
            along: Vec::new(),
            lesson,
            support: 12.0,
            rate: 0.9,
            confidence: 0.8,
            compared: 0.5,
            compared_with: "before".to_owned(),
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn strategy() -> String {
        "research".to_owned()
    }

    #[test]
    fn the_number_of_tasks_stays_within_what_is_asked_and_allowed() {
        let enough = |tasks| {
            pattern(Lesson::Enough {
                strategy: strategy(),
                tasks,
            })
        };
        let needed = |tasks| {
            pattern(Lesson::Needed {
                strategy: strategy(),
                tasks,
            })
        };
        for (patterns, allocated, asked, expected) in [
            (vec![], 4, 0, 4),
            (vec![enough(2)], 4, 0, 2),
            (vec![enough(2)], 4, 3, 3),
            (vec![enough(2)], 4, 4, 4),
            (vec![enough(2)], 1, 0, 1),
            (vec![needed(3)], 2, 0, 3),
            (vec![needed(9)], 2, 0, 4),
            (vec![needed(3)], 4, 0, 4),
            (vec![enough(1), needed(3)], 2, 0, 3),
        ] {
            let (tasks, applied) = Advice::of(&patterns, "research").tasks(allocated, 4, asked);
            assert_eq!(tasks, expected, "{patterns:?} {allocated} {asked}");
            assert_eq!(applied.is_some(), expected != allocated, "{applied:?}");
            assert_eq!(
                Advice::of(&patterns, "testing").tasks(allocated, 4, asked),
                (allocated, None)
            );
        }
    }

    #[test]
    fn barren_aspects_are_left_out_and_fruitful_ones_come_first() {
        let library = Library::builtin().expect("sound");
        let definition = library.get("code_review").expect("built in");
        let sharing = || {
            definition
                .templates
                .iter()
                .skip(1)
                .filter(|template| template.aspect != "*")
                .collect()
        };
        let barren = |aspect: &str| {
            pattern(Lesson::Barren {
                strategy: "code_review".to_owned(),
                aspect: aspect.to_owned(),
            })
        };
        let fruitful = |aspect: &str| {
            pattern(Lesson::Fruitful {
                strategy: "code_review".to_owned(),
                aspect: aspect.to_owned(),
            })
        };
        for (patterns, expected, changes) in [
            (vec![], "error handling, correctness", 0),
            (vec![barren("error handling")], "correctness, security", 1),
            (vec![fruitful("tests")], "tests, error handling", 1),
            (vec![barren("tests")], "error handling, correctness", 0),
        ] {
            let (templates, applied) = Advice::of(&patterns, "code_review").templates(sharing(), 2);
            let aspects: Vec<&str> = templates.iter().map(|template| template.aspect.as_str()).collect();
            assert_eq!(
                (aspects.join(", ").as_str(), applied.len()),
                (expected, changes),
                "{patterns:?} {applied:?}"
            );
        }
        let all: Vec<Pattern> = definition
            .templates
            .iter()
            .map(|template| barren(&template.aspect))
            .collect();
        let (templates, applied) = Advice::of(&all, "code_review").templates(sharing(), 2);
        assert_eq!((templates.len(), applied.len()), (2, 0), "something is looked at");
    }
}

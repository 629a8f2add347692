//! The order in which the tasks of a plan can run: levels, the longest path behind each task, and cycles. It reads
//! dependencies only.

use std::collections::HashMap;

use axon_protocol::{ExecutionPlan, TaskId};

/// For each task the number of tasks on the longest path that begins with it. Of the tasks that are ready, the one with
/// the highest rank comes first: the critical path.
pub fn ranks(plan: &ExecutionPlan) -> Vec<usize> {
    let needs = needs(plan);
    let mut ranks = vec![1; needs.len()];
    // What a cycle keeps from being ordered stays at rank 1: validation refuses it.
    for &task in ordered(&needs).iter().rev() {
        for &needed in &needs[task] {
            ranks[needed] = ranks[needed].max(ranks[task] + 1);
        }
    }
    ranks
}

/// The tasks by their distance from the start, for display: nothing waits for a whole batch.
pub fn batches(plan: &ExecutionPlan) -> Vec<Vec<TaskId>> {
    let levels = levels(&needs(plan));
    let mut batches = vec![Vec::new(); levels.iter().max().map_or(0, |deepest| deepest + 1)];
    for (task, level) in plan.task_delegations.iter().zip(levels) {
        batches[level].push(task.task_id.clone());
    }
    batches
}

/// For each task the indices of those it needs; unknown ids are left out.
pub(crate) fn needs(plan: &ExecutionPlan) -> Vec<Vec<usize>> {
    let tasks = &plan.task_delegations;
    if tasks.iter().all(|task| task.dependencies.is_empty()) {
        return vec![Vec::new(); tasks.len()];
    }
    let places: HashMap<&TaskId, usize> = tasks
        .iter()
        .enumerate()
        .map(|(index, task)| (&task.task_id, index))
        .collect();
    tasks
        .iter()
        .map(|task| {
            task.dependencies
                .iter()
                .filter_map(|id| places.get(id).copied())
                .collect()
        })
        .collect()
}

/// For each task its distance from the start.
pub(crate) fn levels(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut levels = vec![0; needs.len()];
    for task in ordered(needs) {
        levels[task] = needs[task].iter().map(|&needed| levels[needed] + 1).max().unwrap_or(0);
    }
    levels
}

/// A topological order; what is part of a cycle, or needs one, is missing from it.
fn ordered(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (task, needed) in needs.iter().enumerate() {
        for &needed in needed {
            dependents[needed].push(task);
        }
    }
    let mut order: Vec<usize> = (0..needs.len()).filter(|&task| waiting[task] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        for &dependent in &dependents[order[next]] {
            waiting[dependent] -= 1;
            if waiting[dependent] == 0 {
                order.push(dependent);
            }
        }
        next += 1;
    }
    order
}

/// A cycle, its first index repeated at the end and each needing the next; `None` where there is none.
pub(crate) fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    if needs.iter().all(Vec::is_empty) {
        return None;
    }
    let order = ordered(needs);
    if order.len() == needs.len() {
        return None;
    }
    let mut stuck = vec![true; needs.len()];
    order.iter().for_each(|&task| stuck[task] = false);
    // Whoever is stuck needs somebody who is stuck: following that way must come round.
    let mut path = vec![stuck.iter().position(|stuck| *stuck)?];
    loop {
        let last = *path.last()?;
        let next = *needs[last].iter().find(|needed| stuck[**needed])?;
        if let Some(start) = path.iter().position(|&seen| seen == next) {
            path.push(next);
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_and_spelled_out() {
        let check = |needs: &[&[usize]], expected: Option<&[usize]>| {
            let needs: Vec<Vec<usize>> = needs.iter().map(|needed| needed.to_vec()).collect();
            assert_eq!(cycle(&needs).as_deref(), expected, "{needs:?}");
        };
        check(&[], None);
        check(&[&[], &[0], &[0, 1]], None);
        check(&[&[0]], Some(&[0, 0]));
        check(&[&[1], &[0]], Some(&[0, 1, 0]));
        check(&[&[], &[0, 3], &[1], &[2]], Some(&[1, 3, 2, 1]));
        check(&[&[1], &[2], &[1]], Some(&[1, 2, 1]));
    }

    #[test]
    fn levels_are_distances_from_the_start() {
        assert_eq!(levels(&[vec![], vec![0], vec![0], vec![1, 2], vec![]]), [0, 1, 1, 2, 0]);
    }
}

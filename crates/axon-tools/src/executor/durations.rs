//! How long calls take, learnt from those that were made: for each tool, and apart for each workspace, because a search of a
//! large one takes a hundred times as long as that of a small one. Pure and bounded: it reads no clock.

use std::collections::HashMap;

use axon_protocol::Digest;

/// Weight of the latest duration in a moving mean.
const WEIGHT: f64 = 0.2;
/// Most workspaces of which the durations of one tool are known; the one that was not used for the longest time goes.
const WORKSPACES_MAX: usize = 64;

/// Moving means of the durations of calls, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Durations {
    tools: HashMap<String, OfTool>,
    uses: u64,
}

#[derive(Debug, Default)]
struct OfTool {
    mean_ms: Option<f64>,
    workspaces: HashMap<Digest, OfWorkspace>,
}

#[derive(Debug)]
struct OfWorkspace {
    mean_ms: f64,
    /// Number of its latest use.
    used: u64,
}

impl Durations {
    /// Takes in what a call took.
    pub(super) fn learn(&mut self, tool: &str, workspace: Option<&Digest>, duration_ms: f64) {
        self.uses += 1;
        if !self.tools.contains_key(tool) {
            self.tools.insert(tool.to_owned(), OfTool::default());
        }
        let Some(of_tool) = self.tools.get_mut(tool) else {
            return;
        };
        of_tool.mean_ms = Some(moved(of_tool.mean_ms, duration_ms));
        let Some(workspace) = workspace else { return };
        let known = of_tool.workspaces.get(workspace).map(|known| known.mean_ms);
        if known.is_none() && of_tool.workspaces.len() >= WORKSPACES_MAX {
            let oldest = of_tool.workspaces.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(workspace, _)| workspace.clone()) {
                of_tool.workspaces.remove(&oldest);
            }
        }
        let latest = OfWorkspace {
            mean_ms: moved(known, duration_ms),
            used: self.uses,
        };
        of_tool.workspaces.insert(workspace.clone(), latest);
    }

    /// What calls of a tool take, wherever they were made.
    pub(super) fn of_tool(&self, tool: &str) -> Option<f64> {
        self.tools.get(tool)?.mean_ms
    }

    /// What calls of a tool take in one workspace.
    pub(super) fn of_workspace(&self, tool: &str, workspace: &Digest) -> Option<f64> {
        let known = self.tools.get(tool)?.workspaces.get(workspace)?;
        Some(known.mean_ms)
    }
}

/// A mean after one more duration.
fn moved(mean_ms: Option<f64>, duration_ms: f64) -> f64 {
    mean_ms.map_or(duration_ms, |mean| mean + WEIGHT * (duration_ms - mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn means_move_for_the_tool_and_apart_for_each_workspace() {
        let (mut durations, small, large) = (Durations::default(), workspace(1), workspace(2));
        assert_eq!(durations.of_tool("search"), None);
        for (place, duration_ms) in [
            (Some(&small), 2.0),
            (Some(&large), 500.0),
            (Some(&small), 7.0),
            (None, 1.0),
        ] {
            durations.learn("search", place, duration_ms);
        }
        durations.learn("list", Some(&large), 9.0);
        assert_eq!(durations.of_workspace("search", &small), Some(3.0));
        assert_eq!(durations.of_workspace("search", &large), Some(500.0));
        assert_eq!(durations.of_workspace("search", &workspace(3)), None);
        let overall = durations.of_tool("search").expect("known");
        assert!((overall - 66.344).abs() < 1e-9, "{overall}");
        assert_eq!(
            (durations.of_tool("list"), durations.of_workspace("list", &small)),
            (Some(9.0), None)
        );
    }

    #[test]
    fn the_workspace_that_was_not_used_for_the_longest_time_goes() {
        let mut durations = Durations::default();
        for number in 0..WORKSPACES_MAX {
            durations.learn("search", Some(&workspace(number)), 1.0);
        }
        durations.learn("search", Some(&workspace(0)), 1.0);
        durations.learn("search", Some(&workspace(WORKSPACES_MAX)), 1.0);
        let known = |number| durations.of_workspace("search", &workspace(number)).is_some();
        assert_eq!(
            (known(0), known(1), known(2), known(WORKSPACES_MAX)),
            (true, false, true, true)
        );
        assert_eq!(durations.tools["search"].workspaces.len(), WORKSPACES_MAX);
    }
}

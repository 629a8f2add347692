//! Workflows as graphs of tool calls: read from traces in the JSON format of WfCommons, or made up in that format with the
//! shapes of well-known scientific workflows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use axon_protocol::ToolCall;
use serde::Deserialize;
use serde_json::{Value, json};

/// A workflow: tasks with their durations, each after its parents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Workflow {
    /// Its name.
    pub name: String,
    /// Id, duration in seconds, ids of parents.
    pub tasks: Vec<(String, f64, Vec<String>)>,
}

#[derive(Deserialize)]
struct Trace {
    #[serde(default)]
    name: String,
    workflow: Body,
}

#[derive(Deserialize)]
struct Body {
    /// Up to version 1.4 of the format: structure and durations in one list.
    #[serde(default, alias = "jobs")]
    tasks: Vec<Task>,
    specification: Option<Tasks>,
    execution: Option<Tasks>,
}

#[derive(Deserialize)]
struct Tasks {
    #[serde(default)]
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    parents: Vec<String>,
    #[serde(default)]
    children: Vec<String>,
    #[serde(alias = "runtime")]
    #[serde(rename = "runtimeInSeconds")]
    seconds: Option<f64>,
}

impl Task {
    fn key(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }
}

impl Workflow {
    /// Reads a trace, version 1.5 of the format or before.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let trace: Trace = serde_json::from_str(text).context("this is no trace in the format of WfCommons")?;
        let Body {
            tasks,
            specification,
            execution,
        } = trace.workflow;
        let structure = specification.map_or(tasks, |specification| specification.tasks);
        let measured: BTreeMap<String, f64> = execution
            .into_iter()
            .flat_map(|execution| execution.tasks)
            .filter_map(|task| Some((task.key().to_owned(), task.seconds?)))
            .collect();
        ensure!(!structure.is_empty(), "the trace holds no task");
        let mut parents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        // Old traces name tasks by id here and by name there.
        let ids: BTreeMap<&str, &str> = structure.iter().map(|task| (task.name.as_str(), task.key())).collect();
        let id = |named: &String| {
            ids.get(named.as_str())
                .map_or_else(|| named.clone(), |id| (*id).to_owned())
        };
        for task in &structure {
            parents
                .entry(task.key().to_owned())
                .or_default()
                .extend(task.parents.iter().map(id));
            for child in &task.children {
                parents.entry(id(child)).or_default().insert(task.key().to_owned());
            }
        }
        let tasks = structure
            .iter()
            .map(|task| {
                let seconds = measured
                    .get(task.key())
                    .copied()
                    .or(task.seconds)
                    .unwrap_or_default()
                    .max(0.0);
                let parents = parents.remove(task.key()).unwrap_or_default();
                (task.key().to_owned(), seconds, parents.into_iter().collect())
            })
            .collect();
        Ok(Self {
            name: trace.name,
            tasks,
        })
    }

    /// The workflow as calls of `diag.sleep`, shortened or stretched so that it cannot take less than `seconds` on so many
    /// slots.
    pub fn calls(&self, slots: usize, seconds: f64) -> Vec<ToolCall> {
        let factor = seconds / self.lower_bound(slots).max(f64::EPSILON);
        let names: BTreeMap<&str, String> = self
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (task.0.as_str(), format!("t{at}")))
            .collect();
        let call = |(id, duration, parents): &(String, f64, Vec<String>)| ToolCall {
            tool_id: names[id.as_str()].clone(),
            tool_name: "diag.sleep".to_owned(),
            params: json!({"ms": (duration * factor * 1_000.0).round().max(1.0) as u64}),
            outputs: Vec::new(),
            inputs: parents
                .iter()
                .filter_map(|parent| names.get(parent.as_str()).cloned())
                .collect(),
            priority: axon_protocol::PRIORITY_DEFAULT,
        };
        self.tasks.iter().map(call).collect()
    }

    /// max(critical path, work ÷ slots), in seconds.
    fn lower_bound(&self, slots: usize) -> f64 {
        let shape = Shape::of(self);
        let longest = shape.ends.iter().copied().fold(0.0, f64::max);
        let work: f64 = self.tasks.iter().map(|task| task.1).sum();
        longest.max(work / slots as f64)
    }

    /// What no schedule can beat, as a multiple of the lower bound: before a task starts all that it needs must be done, be
    /// it on all slots, and after it its longest path is left. Where work narrows to one task this is above 1.
    pub fn tightness(&self, slots: usize) -> f64 {
        let shape = Shape::of(self);
        let tails = shape.tails(self);
        let bound = (0..self.tasks.len()).map(|index| {
            let needed: f64 = shape.needs[index].iter().map(|need| self.tasks[*need].1).sum();
            let earliest = (shape.ends[index] - self.tasks[index].1).max(needed / slots as f64);
            earliest + tails[index]
        });
        let lower = self.lower_bound(slots);
        bound.fold(lower, f64::max) / lower.max(f64::EPSILON)
    }
}

/// What follows from the order of the tasks of a workflow.
struct Shape {
    /// The tasks, parents first; those of a cycle are left out.
    order: Vec<usize>,
    /// Parents by task.
    parents: Vec<Vec<usize>>,
    /// All that a task needs, directly or not.
    needs: Vec<BTreeSet<usize>>,
    /// When each could end at the earliest, in seconds.
    ends: Vec<f64>,
}

impl Shape {
    fn of(workflow: &Workflow) -> Self {
        let tasks = &workflow.tasks;
        let at: BTreeMap<&str, usize> = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (task.0.as_str(), at))
            .collect();
        let parents: Vec<Vec<usize>> = tasks
            .iter()
            .map(|task| {
                task.2
                    .iter()
                    .filter_map(|parent| at.get(parent.as_str()).copied())
                    .collect()
            })
            .collect();
        let mut shape = Self {
            order: Vec::new(),
            needs: vec![BTreeSet::new(); tasks.len()],
            ends: vec![0.0; tasks.len()],
            parents,
        };
        let mut known = vec![false; tasks.len()];
        // Tasks may stand before their parents: each round settles at least one, or the rest is a cycle.
        while let Some(next) =
            (0..tasks.len()).find(|index| !known[*index] && shape.parents[*index].iter().all(|parent| known[*parent]))
        {
            known[next] = true;
            shape.order.push(next);
            let parents = shape.parents[next].clone();
            let begin = parents.iter().map(|parent| shape.ends[*parent]).fold(0.0, f64::max);
            shape.ends[next] = begin + tasks[next].1;
            let mut needs: BTreeSet<usize> = parents.iter().copied().collect();
            for parent in parents {
                needs.extend(&shape.needs[parent]);
            }
            shape.needs[next] = needs;
        }
        shape
    }

    /// The longest path from the start of each task on, in seconds.
    fn tails(&self, workflow: &Workflow) -> Vec<f64> {
        let mut tails: Vec<f64> = workflow.tasks.iter().map(|task| task.1).collect();
        for index in self.order.iter().rev() {
            for parent in &self.parents[*index] {
                tails[*parent] = tails[*parent].max(workflow.tasks[*parent].1 + tails[*index]);
            }
        }
        tails
    }
}

/// Numbers that look random and are the same each time.
pub(crate) struct Numbers(pub u64);

impl Numbers {
    /// From 0 up to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A duration around `mean` with a long tail, as tasks of workflows have.
    pub fn seconds(&mut self, mean: f64) -> f64 {
        mean * (0.3 - 0.7 * (1.0 - self.next()).ln())
    }

    /// Below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() * limit as f64) as usize
    }
}

/// Builds a trace.
#[derive(Default)]
struct Builder {
    specification: Vec<Value>,
    execution: Vec<Value>,
}

impl Builder {
    fn add(&mut self, kind: &str, seconds: f64, parents: &[String]) -> String {
        let id = format!("{kind}_{:05}", self.specification.len());
        self.specification
            .push(json!({"name": kind, "id": id, "parents": parents, "children": []}));
        self.execution.push(json!({"id": id, "runtimeInSeconds": seconds}));
        id
    }

    fn finish(self, name: &str) -> String {
        let workflow = json!({"specification": {"tasks": self.specification}, "execution": {"tasks": self.execution}});
        json!({"name": name, "schemaVersion": "1.5", "workflow": workflow}).to_string()
    }
}

/// Traces with the shapes of workflows that are often measured with, as text in the format.
pub(crate) fn made_up() -> Vec<String> {
    let mut numbers = Numbers(7);
    let many = |count: usize, of: &mut dyn FnMut(usize) -> String| -> Vec<String> { (0..count).map(of).collect() };

    let mut blast = Builder::default();
    let split = blast.add("split_fasta", 4.0, &[]);
    let hits = many(90, &mut |_| {
        blast.add("blastall", numbers.seconds(60.0), std::slice::from_ref(&split))
    });
    blast.add("cat_blast", 3.0, &hits);
    blast.add("cat", 1.0, &hits);

    let mut epigenomics = Builder::default();
    let mut lanes = Vec::new();
    for _ in 0..4 {
        let split = epigenomics.add("fastqSplit", numbers.seconds(30.0), &[]);
        let ends = many(18, &mut |_| {
            let mut last = split.clone();
            for (kind, mean) in [
                ("filterContams", 3.0),
                ("sol2sanger", 1.0),
                ("fastq2bfq", 2.0),
                ("map", 120.0),
            ] {
                last = epigenomics.add(kind, numbers.seconds(mean), &[last]);
            }
            last
        });
        lanes.push(epigenomics.add("mapMerge", numbers.seconds(10.0), &ends));
    }
    let merged = epigenomics.add("mapMerge", 12.0, &lanes);
    let index = epigenomics.add("maqIndex", 40.0, &[merged]);
    epigenomics.add("pileup", 60.0, &[index]);

    let mut montage = Builder::default();
    let projected = many(40, &mut |_| montage.add("mProject", numbers.seconds(15.0), &[]));
    let fits = many(110, &mut |at| {
        let pair = [projected[at % 40].clone(), projected[(at * 7 + 1) % 40].clone()];
        montage.add("mDiffFit", numbers.seconds(8.0), &pair)
    });
    let concat = montage.add("mConcatFit", 20.0, &fits);
    let model = montage.add("mBgModel", 60.0, &[concat]);
    let corrected = many(40, &mut |at| {
        montage.add(
            "mBackground",
            numbers.seconds(6.0),
            &[projected[at].clone(), model.clone()],
        )
    });
    let table = montage.add("mImgtbl", 5.0, &corrected);
    let added = montage.add("mAdd", 30.0, &[table]);
    montage.add("mViewer", 15.0, &[added]);

    let mut genome = Builder::default();
    for _ in 0..3 {
        let individuals = many(25, &mut |_| genome.add("individuals", numbers.seconds(80.0), &[]));
        let merged = genome.add("individuals_merge", numbers.seconds(30.0), &individuals);
        let sifting = genome.add("sifting", numbers.seconds(20.0), &[]);
        for _ in 0..14 {
            let needs = [merged.clone(), sifting.clone()];
            genome.add("mutation_overlap", numbers.seconds(25.0), &needs);
            genome.add("frequency", numbers.seconds(70.0), &needs);
        }
    }

    let mut seismology = Builder::default();
    let pairs = many(120, &mut |_| seismology.add("sG1IterDecon", numbers.seconds(10.0), &[]));
    seismology.add("wrapper_siftSTFByMisfit", 4.0, &pairs);

    let mut soykb = Builder::default();
    let samples = many(24, &mut |_| {
        let mut last = soykb.add("align_to_ref", numbers.seconds(40.0), &[]);
        for (kind, mean) in [
            ("sort_sam", 15.0),
            ("dedup", 12.0),
            ("add_replace", 12.0),
            ("realign", 35.0),
            ("indel_realign", 25.0),
        ] {
            last = soykb.add(kind, numbers.seconds(mean), &[last]);
        }
        soykb.add("haplotype_caller", numbers.seconds(60.0), &[last])
    });
    let merged = soykb.add("merge_gcvf", 50.0, &samples);
    for kind in ["select_variants_snp", "select_variants_indel"] {
        let selected = soykb.add(kind, 15.0, std::slice::from_ref(&merged));
        soykb.add("filtering", 10.0, &[selected]);
    }

    [
        (blast, "blast"),
        (epigenomics, "epigenomics"),
        (montage, "montage"),
        (genome, "1000genome"),
        (seismology, "seismology"),
        (soykb, "soykb"),
    ]
    .map(|(builder, name)| builder.finish(name))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_the_format_are_read() {
        let new = r#"{"name": "n", "workflow": {
            "specification": {"tasks": [{"name": "a", "id": "a1", "parents": [], "children": ["b1"]}, {"name": "b", "id": "b1", "parents": []}]},
            "execution": {"tasks": [{"id": "a1", "runtimeInSeconds": 2.0}, {"id": "b1", "runtimeInSeconds": 3.5}]}}}"#;
        let old = r#"{"name": "n", "workflow": {"jobs": [
            {"name": "b1", "runtime": 3.5, "parents": ["a1"]}, {"name": "a1", "runtime": 2.0, "parents": []}]}}"#;
        for text in [new, old] {
            let mut workflow = Workflow::read(text).expect("reads");
            workflow.tasks.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(
                workflow.tasks,
                [
                    ("a1".to_owned(), 2.0, vec![]),
                    ("b1".to_owned(), 3.5, vec!["a1".to_owned()])
                ]
            );
            assert_eq!((workflow.lower_bound(10), workflow.tightness(10)), (5.5, 1.0));
            let calls = workflow.calls(10, 1.1);
            assert_eq!(
                (&calls[0].params["ms"], &calls[1].params["ms"]),
                (&json!(400), &json!(700))
            );
            assert_eq!(calls[1].inputs, ["t0"]);
        }
        for bad in ["{}", "[]", r#"{"workflow": {}}"#] {
            assert!(Workflow::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn where_work_narrows_to_one_task_no_schedule_reaches_the_lower_bound() {
        // Four tasks of 1 s on two slots, then one of 1 s that needs them all: 3 s, where work ÷ slots is 2.5 s.
        let mut tasks: Vec<(String, f64, Vec<String>)> = (0..4).map(|n| (n.to_string(), 1.0, Vec::new())).collect();
        tasks.insert(0, ("last".to_owned(), 1.0, (0..4).map(|n| n.to_string()).collect()));
        let workflow = Workflow {
            name: "narrow".to_owned(),
            tasks,
        };
        assert_eq!((workflow.lower_bound(2), workflow.tightness(2)), (2.5, 1.2));
    }

    #[test]
    fn what_is_made_up_can_be_read_and_is_the_same_each_time() {
        let all = made_up();
        assert_eq!(all, made_up());
        for text in all {
            let workflow = Workflow::read(&text).expect("reads");
            let edges: usize = workflow.tasks.iter().map(|task| task.2.len()).sum();
            assert!(workflow.tasks.len() > 90 && edges > 80, "{}", workflow.name);
        }
    }
}

//! Measures how well `code.locate` finds what a described defect made people change, against plain BM25 over files.
//! `cargo run --release -p axon-tools --example locate -- REPOSITORY [--cases N] [--all] [--details FILE]`
//!
//! Each case is a commit that fixes something: its message is the symptom, the source files it changed are the truth, and the
//! workspace is the repository as it was before, with no history but what led there. The repository is not touched.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axon_tools::code::{LocateResult, is_candidate, query_terms, terms};
use axon_tools::{CallContext, Toolbox, Workspace};
use serde_json::json;

/// Files a commit may change and still be about one thing.
const TRUTH_MAX: usize = 10;
/// Words of a subject that tell a repair.
const REPAIRS: &str = "fix fixes fixed fixing bug bugs panic panics crash crashes crashed regression leak leaks deadlock hang hangs wrong \
    incorrect incorrectly broken overflow race fail fails failing failed failure error errors don't doesn't avoid prevent never again";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let args = Args::parse(std::env::args().skip(1))?;
    let scratch = tempfile::tempdir()?;
    let clone = scratch.path().join("clone");
    git(
        Path::new("."),
        &[
            "clone",
            "--quiet",
            "--shared",
            "--no-checkout",
            &args.repository.display().to_string(),
            &clone.display().to_string(),
        ],
    )?;
    let cases = cases(&clone, &args)?;
    let mut details = args.details.as_ref().map(std::fs::File::create).transpose()?;
    let mut toolbox = Toolbox::new();
    axon_tools::code::register(&mut toolbox)?;
    let mut found: [Vec<Option<usize>>; 2] = [Vec::new(), Vec::new()];
    let mut files = Vec::new();
    for case in &cases {
        git(&clone, &["checkout", "--quiet", "--force", &case.parent])?;
        let dir = clone.clone();
        let workspace = Arc::new(tokio::task::spawn_blocking(move || Workspace::of_directory(&dir)).await??);
        let Some(case) = case.known_to(&workspace) else {
            continue;
        };
        let plain = plain_bm25(&workspace, &case.symptom);
        let tool = toolbox.get("code.locate").ok_or("`code.locate` is not there")?;
        let params = json!({"symptom": case.symptom, "max_results": 500});
        let value = tool.call(&CallContext::new(Some(workspace)), params).await?;
        let ours: LocateResult = serde_json::from_value(value)?;
        if plain.len() < 2 {
            continue;
        }
        let ranked: Vec<&str> = ours.results.iter().map(|file| file.path.as_str()).collect();
        found[0].push(rank_of(plain.iter().map(String::as_str), &case.truth));
        found[1].push(rank_of(ranked.iter().copied(), &case.truth));
        files.push(ours.files);
        if let Some(out) = &mut details {
            let plain: HashMap<&str, usize> = plain
                .iter()
                .enumerate()
                .map(|(at, path)| (path.as_str(), at + 1))
                .collect();
            let results: Vec<_> = ours
                .results
                .iter()
                .map(|f| json!({"path": f.path, "signals": f.signals.values(), "plain": plain.get(f.path.as_str())}))
                .collect();
            writeln!(
                out,
                "{}",
                json!({"commit": case.commit, "symptom": case.symptom, "truth": case.truth, "plain": found[0].last(), "ours": found[1].last(), "results": results})
            )?;
        }
    }
    files.sort_unstable();
    let [plain, ours] = found.map(|ranks| figures(&ranks));
    let ratio = ours["mrr"]
        .as_f64()
        .zip(plain["mrr"].as_f64())
        .map(|(ours, plain)| round(ours / plain));
    let files = files.get(files.len() / 2);
    println!(
        "{:#}",
        json!({"repository": args.repository, "cases": ours["cases"], "files_median": files, "plain_bm25": plain, "located": ours, "ratio": ratio})
    );
    Ok(())
}

struct Args {
    repository: PathBuf,
    cases: usize,
    all: bool,
    details: Option<PathBuf>,
}

impl Args {
    fn parse(mut given: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            repository: PathBuf::from("."),
            cases: 100,
            all: false,
            details: None,
        };
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "--cases" => args.cases = given.next().ok_or("--cases needs a number")?.parse()?,
                "--all" => args.all = true,
                "--details" => args.details = Some(given.next().ok_or("--details needs a file")?.into()),
                _ => args.repository = PathBuf::from(arg).canonicalize()?,
            }
        }
        Ok(args)
    }
}

struct Case {
    commit: String,
    parent: String,
    symptom: String,
    truth: Vec<String>,
}

impl Case {
    /// The case with what of its truth was there before; `None` where nothing was, or too much.
    fn known_to(&self, workspace: &Workspace) -> Option<Self> {
        let was_there = |path: &&String| workspace.manifest().get(path).is_some();
        let truth: Vec<String> = self.truth.iter().filter(was_there).cloned().collect();
        (1..=TRUTH_MAX).contains(&truth.len()).then(|| Self {
            commit: self.commit.clone(),
            parent: self.parent.clone(),
            symptom: self.symptom.clone(),
            truth,
        })
    }
}

/// The newest commits that repair something, or the newest of all kinds.
fn cases(clone: &Path, args: &Args) -> Outcome<Vec<Case>> {
    let log = git(
        clone,
        &[
            "log",
            "--no-merges",
            "--no-renames",
            "--name-only",
            "--format=%x01%H%x02%P%x02%B%x03",
        ],
    )?;
    let mut out = Vec::new();
    for entry in log.split('\u{1}').skip(1) {
        let Some((head, names)) = entry.split_once('\u{3}') else {
            continue;
        };
        let fields: Vec<&str> = head.splitn(3, '\u{2}').collect();
        let [commit, parent, message] = fields[..] else {
            continue;
        };
        let subject = message.lines().next().unwrap_or_default().to_lowercase();
        let repairs = subject
            .split(|c: char| !c.is_alphanumeric() && c != '\'')
            .any(|word| REPAIRS.split_whitespace().any(|known| known == word));
        let truth: Vec<String> = names
            .lines()
            .filter(|path| is_candidate(path))
            .map(str::to_owned)
            .collect();
        if parent.is_empty() || truth.is_empty() || !(repairs || args.all) {
            continue;
        }
        out.push(Case {
            commit: commit.to_owned(),
            parent: parent.to_owned(),
            symptom: message.trim().to_owned(),
            truth,
        });
        if out.len() >= args.cases {
            break;
        }
    }
    Ok(out)
}

/// All files by BM25 (k1 1.2, b 0.75) over the words of their text and path, identifiers split and endings removed.
fn plain_bm25(workspace: &Workspace, symptom: &str) -> Vec<String> {
    let wanted = query_terms(symptom);
    let mut documents: Vec<(String, HashMap<String, f64>, f64)> = Vec::new();
    for file in workspace
        .files_in(&[])
        .into_iter()
        .filter(|file| is_candidate(&file.path) && file.bytes > 0)
    {
        let Ok(text) = workspace.text(&file.path) else { continue };
        let mut counts: HashMap<String, f64> = HashMap::new();
        let mut length = 0.0;
        for term in terms(text.as_str()).into_iter().chain(terms(&file.path)) {
            length += 1.0;
            *counts.entry(term).or_default() += 1.0;
        }
        documents.push((file.path.clone(), counts, length));
    }
    let total = documents.len() as f64;
    let mean = documents.iter().map(|document| document.2).sum::<f64>() / total.max(1.0);
    let idf: Vec<f64> = wanted
        .iter()
        .map(|term| {
            let holding = documents
                .iter()
                .filter(|document| document.1.contains_key(term))
                .count() as f64;
            (1.0 + (total - holding + 0.5) / (holding + 0.5)).ln()
        })
        .collect();
    let score = |(_, counts, length): &(String, HashMap<String, f64>, f64)| -> f64 {
        let norm = 1.2 * (0.25 + 0.75 * length / mean);
        let each = wanted
            .iter()
            .zip(&idf)
            .filter_map(|(term, idf)| Some((idf, counts.get(term)?)));
        each.map(|(idf, count)| idf * count * 2.2 / (count + norm)).sum()
    };
    let mut scored: Vec<(f64, &str)> = documents
        .iter()
        .map(|document| (score(document), document.0.as_str()))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().map(|(_, path)| path.to_owned()).collect()
}

/// The place of the first file that is one of the true ones, counted from 1.
fn rank_of<'p>(mut ranked: impl Iterator<Item = &'p str>, truth: &[String]) -> Option<usize> {
    ranked
        .position(|path| truth.iter().any(|known| known == path))
        .map(|at| at + 1)
}

fn figures(ranks: &[Option<usize>]) -> serde_json::Value {
    let total = ranks.len().max(1) as f64;
    let within = |limit: usize| round(ranks.iter().flatten().filter(|rank| **rank <= limit).count() as f64 / total);
    let mrr = ranks.iter().flatten().map(|rank| 1.0 / *rank as f64).sum::<f64>() / total;
    json!({"cases": ranks.len(), "mrr": round(mrr), "hit_1": within(1), "hit_5": within(5), "hit_10": within(10)})
}

fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

fn git(dir: &Path, args: &[&str]) -> Outcome<String> {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output()?;
    if !output.status.success() {
        return Err(format!(
            "git {} failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

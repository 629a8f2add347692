//! From flags to a published query: checks all input before anything is sent, packs and stores the workspace, publishes.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::{Bus, Message, Published};
use axon_protocol::{
    Budget, Format, ObjectBucket, OutputFormat, PlanRequest, QUERY_BYTES_MAX, Query, QueryId, Stream, header,
};
use axon_tools::{Manifest, PackError, PackLimits, Packed, Skipped, pack};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::counted;

/// How long a query is offered to a server that does not acknowledge it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);
/// Files left out of a workspace that are named.
const LEFT_OUT_NAMED_MAX: usize = 5;
/// Text above which whoever works on a workspace may need longer than most questions have, in bytes.
const LARGE_BYTES: u64 = 64 << 20;
/// Largest plan file, in bytes.
const PLAN_FILE_BYTES_MAX: u64 = 16 << 20;

/// What is asked, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    /// The question; `-` reads it from standard input
    #[arg(value_name = "QUESTION")]
    pub(crate) query: String,

    /// Directory the question is about [default: the current one; none with --plan]
    #[arg(long, value_name = "DIR", conflicts_with = "no_workspace")]
    pub(crate) workspace: Option<PathBuf>,

    /// Send no directory: the fleet's own workspace is used, where it has one
    #[arg(long)]
    pub(crate) no_workspace: bool,

    /// Seconds until the answer is wanted [default: by the complexity of the question]
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<u64>,

    /// Own plan: a JSON file with tasks, dependencies and tool calls
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,

    /// Strategy to follow [default: the one that fits best]
    #[arg(long, value_name = "NAME", conflicts_with = "plan")]
    pub(crate) strategy: Option<String>,

    /// Groups questions that belong together
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,

    /// 1 (lowest) to 10 (highest) [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u8>,

    /// Most tokens the answer may use; goes together with --budget-cents, 0 for both spends nothing
    #[arg(long, value_name = "N", requires = "budget_cents")]
    pub(crate) budget_tokens: Option<u64>,

    /// Most US cents the answer may cost; goes together with --budget-tokens
    #[arg(long, value_name = "N", requires = "budget_tokens")]
    pub(crate) budget_cents: Option<u64>,

    /// How the text of the answer is written
    #[arg(long, value_enum, default_value_t = TextFormat::Markdown)]
    pub(crate) format: TextFormat,

    /// Id of the query; the same id again attaches to the running query or its answer [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
}

impl QueryArgs {
    /// A question about a directory with nothing else fixed.
    pub(crate) fn about(query: String, workspace: Option<PathBuf>, timeout: Option<u64>) -> Self {
        Self {
            query,
            workspace,
            no_workspace: false,
            timeout,
            plan: None,
            strategy: None,
            session: None,
            priority: None,
            budget_tokens: None,
            budget_cents: None,
            format: TextFormat::Markdown,
            id: None,
        }
    }

    /// The directory to pack: the one given, else the current one, unless the query has its own plan or wants none.
    fn directory(&self) -> Option<PathBuf> {
        match &self.workspace {
            Some(dir) => Some(dir.clone()),
            None if self.no_workspace || self.plan.is_some() => None,
            None => Some(PathBuf::from(".")),
        }
    }
}

/// How the text of an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TextFormat {
    /// The whole answer
    Markdown,
    /// The structure
    Json,
    /// Findings as a table
    Table,
    /// Summary and recommendations alone
    Brief,
}

impl From<TextFormat> for OutputFormat {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::Markdown => OutputFormat::Markdown,
            TextFormat::Json => OutputFormat::Json,
            TextFormat::Table => OutputFormat::Table,
            TextFormat::Brief => OutputFormat::Brief,
        }
    }
}

/// A checked query with its packed workspace, not sent yet.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: QueryId,
    pub(crate) query: Query,
    archive: Option<bytes::Bytes>,
    /// For people: what was packed, or why nothing was.
    pub(crate) packed: Option<String>,
    /// What was left out of the workspace.
    pub(crate) left_out: Option<LeftOut>,
}

/// Files that are not in a packed workspace, so that nothing is found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// How many.
    count: usize,
    /// The first of them.
    files: Vec<Skipped>,
}

impl LeftOut {
    /// What was left out of a packed workspace, where anything was.
    pub(crate) fn of(manifest: &Manifest) -> Option<Self> {
        let files = manifest.skipped.iter().take(LEFT_OUT_NAMED_MAX).cloned();
        (!manifest.skipped.is_empty()).then(|| Self {
            count: manifest.skipped.len() + manifest.skipped_more,
            files: files.collect(),
        })
    }

    /// A document for machines, with the field `left_out` where anything was left out.
    pub(crate) fn beside(left_out: Option<&Self>, document: &impl Serialize) -> anyhow::Result<serde_json::Value> {
        let mut document = serde_json::to_value(document).context("cannot write the JSON")?;
        if let (Some(left_out), Some(fields)) = (left_out, document.as_object_mut()) {
            fields.insert("left_out".to_owned(), serde_json::to_value(left_out)?);
        }
        Ok(document)
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "left out of the workspace: {}", counted(self.count, "file"))?;
        for (index, file) in self.files.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            write!(f, "{before}{} ({})", file.path, file.reason)?;
        }
        match self.count.saturating_sub(self.files.len()) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Question {
    /// A query that is complete as it is.
    pub(crate) fn of(id: QueryId, query: Query) -> Self {
        Self {
            id,
            query,
            archive: None,
            packed: None,
            left_out: None,
        }
    }

    /// For people, line by line: what was packed and what was left out.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = String> {
        let left_out = self.left_out.as_ref().map(ToString::to_string);
        self.packed.clone().into_iter().chain(left_out)
    }

    /// Checks everything that can be checked without a server, and packs the workspace.
    pub(crate) async fn prepare(args: QueryArgs) -> anyhow::Result<Self> {
        let id = match &args.id {
            Some(id) => QueryId::new(id.as_str()).context("--id")?,
            None => QueryId::generate(),
        };
        let directory = args.directory();
        let mut query = Query {
            query: read_text(args.query)?,
            workspace: None,
            session: args.session,
            deadline_s: args.timeout,
            budget: args
                .budget_tokens
                .zip(args.budget_cents)
                .map(|(tokens, cents)| Budget { tokens, cents }),
            priority: args.priority,
            output_format: args.format.into(),
            plan: args.plan.as_deref().map(read_plan).transpose()?,
            strategy: args.strategy,
            replay: None,
        };
        query.check()?;
        let Some(directory) = directory else {
            // A plan of its own says itself what it works on.
            let unsaid = query.plan.is_none();
            let remark = "no workspace was given: the fleet answers from its own, where it has one";
            return Ok(Self {
                packed: unsaid.then(|| remark.to_owned()),
                ..Self::of(id, query)
            });
        };
        let named = args.workspace.is_some();
        let shown = directory.clone();
        let packing = tokio::task::spawn_blocking(move || pack(&directory, &PackLimits::default()));
        let packed = match packing.await.context("packing the workspace broke off")? {
            Ok(packed) => packed,
            // Nobody said that the question is about this directory, and there is nothing in it to be about.
            Err(PackError::Empty(_)) if !named => {
                return Ok(Self {
                    packed: Some("no workspace: the current directory holds no text".to_owned()),
                    ..Self::of(id, query)
                });
            }
            Err(error) if named => return Err(error.into()),
            Err(error) => {
                let context = "cannot use the current directory (--no-workspace asks without)";
                return Err(anyhow::Error::new(error).context(context));
            }
        };
        let described = described(&shown, &packed, query.deadline_s.is_none());
        let left_out = LeftOut::of(&packed.manifest);
        query.workspace = Some(packed.digest);
        Ok(Self {
            packed: Some(described),
            left_out,
            archive: Some(packed.bytes),
            ..Self::of(id, query)
        })
    }

    /// Stores the workspace where it is not stored yet.
    pub(crate) async fn store(&self, bus: &Bus) -> anyhow::Result<()> {
        let Some(archive) = &self.archive else {
            return Ok(());
        };
        bus.objects(ObjectBucket::Workspaces)
            .put(archive.clone())
            .await
            .context("cannot store the workspace")?;
        Ok(())
    }

    /// Publishes the query and waits until the server has it. Under the same id it is stored once, so that it is offered
    /// again when no acknowledgement comes; a full stream is told at once.
    pub(crate) async fn publish(&self, context: &Context, bus: &Bus) -> anyhow::Result<Published> {
        let message = Message::new(bus.namespace().queries(), Format::Msgpack, &self.query)?
            .with(header::MESSAGE_ID, self.id.as_str())
            .with(header::CLIENT, context.client.as_str());
        let until = Instant::now() + PUBLISH_TIMEOUT;
        loop {
            match bus.publish(message.clone()).await {
                Ok(published) => return Ok(published),
                Err(error @ axon_bus::Error::Full { .. }) => return Err(error.into()),
                Err(error) if error.is_transient() && Instant::now() < until => {
                    tracing::warn!(%error, "the query is not acknowledged yet, trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// For people: what was packed. Where it is large, also what to do about it, before the time is up.
fn described(dir: &Path, packed: &Packed, hurried: bool) -> String {
    let revision = packed.manifest.revision.as_deref();
    let bytes: u64 = packed.manifest.files.iter().map(|file| file.bytes).sum();
    let large = match bytes > LARGE_BYTES && hurried {
        true => format!(
            "; its {} MiB of text may take longer than the question has: give it more time with --timeout, or name a \
             smaller directory with --workspace",
            bytes >> 20
        ),
        false => String::new(),
    };
    format!(
        "workspace {}: {} files, {} KiB packed{}{large}",
        dir.display(),
        packed.manifest.files.len(),
        packed.bytes.len().div_ceil(1024),
        revision.map_or_else(String::new, |revision| format!(
            ", revision {}",
            &revision[..revision.len().min(10)]
        ))
    )
}

/// Fails with what to do when the server has none of the fleet's streams.
pub(crate) async fn check_streams(bus: &Bus) -> anyhow::Result<()> {
    let Err(error) = bus.status(Stream::Answers).await else {
        return Ok(());
    };
    let missing = bus
        .differences()
        .await?
        .into_iter()
        .find(|difference| difference.setting == "stream");
    let Some(difference) = missing else {
        return Err(error.into());
    };
    let message = format!(
        "the stream {} does not exist on this server: no fleet of the namespace `{}` has run here. Start one with \
         `axon up`, or create the streams with `axon init`",
        difference.name,
        bus.namespace()
    );
    Err(Failure::new(Exit::Unreachable, message).into())
}

/// The answer stored for a query, where there is one.
pub(crate) async fn stored_answer(bus: &Bus, id: &QueryId) -> Result<Option<axon_protocol::Answer>, axon_bus::Error> {
    let subject = bus.namespace().answer(id);
    match bus.last(Stream::Answers, &subject).await? {
        Some(message) => Ok(Some(bus.decode_stored(&message).await?)),
        None => Ok(None),
    }
}

fn read_text(given: String) -> anyhow::Result<String> {
    if given != "-" {
        return Ok(given);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(QUERY_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::bad_input(format!("cannot read the question from standard input: {error}")))?;
    Ok(text)
}

fn read_plan(path: &Path) -> anyhow::Result<PlanRequest> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::bad_input(format!("cannot read the plan file {shown}: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(PLAN_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > PLAN_FILE_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "the plan file {shown} is larger than {PLAN_FILE_BYTES_MAX} bytes"
        ))
        .into());
    }
    parse_plan(&text).map_err(|reason| Failure::bad_input(format!("the plan file {shown} is invalid: {reason}")).into())
}

/// Reads a plan. A field that no plan has is refused: ignoring a misspelt `dependencies` would run another plan.
fn parse_plan(text: &str) -> Result<PlanRequest, String> {
    let mut unknown = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let plan: PlanRequest = serde_ignored::deserialize(&mut reader, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    if let Some(field) = unknown {
        return Err(format!("no plan has a field `{field}`"));
    }
    if plan.tasks.is_empty() {
        return Err("it has no tasks: `tasks` needs at least one".to_owned());
    }
    for (index, task) in plan.tasks.iter().enumerate() {
        for capability in &task.required_capabilities {
            axon_protocol::Capability::new(capability.as_str())
                .map_err(|error| format!("tasks[{index}].required_capabilities: {error}"))?;
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(query: &str) -> QueryArgs {
        QueryArgs::about(query.to_owned(), None, None)
    }

    #[test]
    fn the_current_directory_is_the_workspace_unless_told_otherwise() {
        let plan = || Some(PathBuf::from("p.json"));
        let dir = || Some(PathBuf::from("d"));
        for (workspace, no_workspace, plan, expected) in [
            (None, false, None, Some(".")),
            (dir(), false, None, Some("d")),
            (None, true, None, None),
            (None, false, plan(), None),
            (dir(), false, plan(), Some("d")),
        ] {
            let args = QueryArgs {
                workspace,
                no_workspace,
                plan,
                ..args("why?")
            };
            assert_eq!(args.directory(), expected.map(PathBuf::from), "{args:?}");
        }
    }

    #[test]
    fn a_bad_plan_is_refused_with_its_line() {
        for (text, expected) in [
            ("{\"tasks\": [\n  {\"objective\": 1}\n]}", "line 2"),
            ("{", "line 1"),
            ("[]x", "expected"),
            ("{\"tasks\": []}", "no tasks"),
            ("{\"tasks\": [{}]} trailing", "trailing"),
            ("{\"tasks\": [{\"dependecies\": [\"t1\"]}]}", "dependecies"),
            (
                "{\"tasks\": [{\"required_capabilities\": [\"Code Review\"]}]}",
                "Code Review",
            ),
        ] {
            let reason = parse_plan(text).expect_err(text);
            assert!(reason.contains(expected), "{text}: {reason}");
        }
        let plan = parse_plan(
            r#"{"tasks": [{"calls": [{"tool_id": "a", "tool_name": "diag.echo", "params": {"anything": {"goes": 1}}}]}]}"#,
        );
        assert_eq!(plan.map(|plan| plan.tasks.len()), Ok(1));
    }

    #[tokio::test]
    async fn bad_input_is_refused_before_anything_is_sent() {
        let missing = || Some(PathBuf::from("/nonexistent/axon"));
        let long = "a".repeat(QUERY_BYTES_MAX + 1);
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (args, expected) in [
            (args(""), "empty"),
            (args(" \n"), "empty"),
            (args("???"), "holds no word"),
            (args(&long), "65536 at most"),
            (
                QueryArgs {
                    workspace: missing(),
                    ..args("why?")
                },
                "does not exist",
            ),
            (
                QueryArgs {
                    workspace: Some(file.path().to_owned()),
                    ..args("why?")
                },
                "is no directory",
            ),
            (
                QueryArgs {
                    plan: missing(),
                    ..args("why?")
                },
                "cannot read the plan file",
            ),
            (
                QueryArgs {
                    plan: Some(file.path().to_owned()),
                    ..args("why?")
                },
                "line 1",
            ),
            (
                QueryArgs {
                    priority: Some(11),
                    ..args("why?")
                },
                "priority 11",
            ),
            (
                QueryArgs {
                    timeout: Some(0),
                    ..args("why?")
                },
                "deadline of 0",
            ),
            (
                QueryArgs {
                    id: Some("a.b".to_owned()),
                    ..args("why?")
                },
                "letters, digits",
            ),
        ] {
            let error = Question::prepare(args).await.expect_err(expected);
            let line = crate::exit::one_line(&error);
            assert!(line.contains(expected), "{expected}: {line}");
            assert_eq!(Exit::of_error(&error), Exit::BadInput, "{line}");
        }
    }

    #[tokio::test]
    async fn a_workspace_is_packed_and_its_digest_asked_about() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.rs"), "fn a() {}\n").expect("written");
        let question = Question::prepare(QueryArgs {
            workspace: Some(dir.path().to_owned()),
            ..args("why?")
        })
        .await
        .expect("fits");
        let archive = question.archive.expect("packed");
        assert_eq!(question.query.workspace, Some(axon_protocol::Digest::of(&archive)));
        assert!(question.packed.expect("described").contains("1 files"));
        assert_eq!(question.left_out, None);
    }

    #[tokio::test]
    async fn what_is_left_out_of_a_workspace_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.rs"), "fn a() {}\n").expect("written");
        for name in 1..=300 {
            std::fs::write(dir.path().join(format!("image{name}")), [0]).expect("written");
        }
        std::fs::write(dir.path().join("run.log"), "x".repeat(2 << 20)).expect("written");
        let about = |workspace| QueryArgs::about("why?".to_owned(), workspace, None);
        let question = Question::prepare(about(Some(dir.path().to_owned())))
            .await
            .expect("fits");
        let remarks: Vec<String> = question.remarks().collect();
        let said = remarks.last().expect("a remark");
        assert!(
            said.starts_with(
                "left out of the workspace: 301 files: run.log (larger than 1048576 bytes), image1 (no text), "
            ) && said.ends_with("image101 (no text), and 296 more"),
            "{said}"
        );
        let left_out = question.left_out.as_ref();
        let document = LeftOut::beside(left_out, &serde_json::json!({ "id": "q1" })).expect("an object");
        assert_eq!(
            (&document["id"], &document["left_out"]["count"]),
            (&"q1".into(), &301.into())
        );
        assert_eq!(document["left_out"]["files"][0]["path"], "run.log");
        let without = QueryArgs {
            no_workspace: true,
            ..about(None)
        };
        let question = Question::prepare(without).await.expect("fits");
        assert!(
            question
                .remarks()
                .next()
                .is_some_and(|said| said.contains("no workspace was given")),
            "{question:?}"
        );
    }

    #[test]
    fn a_large_workspace_is_told_before_its_time_is_up() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.rs"), "fn a() {}\n").expect("written");
        let mut packed = pack(dir.path(), &PackLimits::default()).expect("packed");
        let told = |packed: &Packed, hurried| described(dir.path(), packed, hurried).contains("--timeout");
        assert!(!told(&packed, true));
        packed.manifest.files[0].bytes = LARGE_BYTES + 1;
        assert!(told(&packed, true) && !told(&packed, false));
    }
}

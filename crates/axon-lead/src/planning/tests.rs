//! Plans of many kinds of query, and of queries that bring their own.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axon_protocol::{AgentType, Capability, Complexity, PlanRequest, TaskRequest, ToolCall};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::allocation::allocate;
use crate::analysis::analyze;
use crate::partition::overlap;
use crate::strategy::{Experience, Library};
use crate::validation::validate;
use crate::view::samples::{repository, view};

pub(super) static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::builtin().expect("sound"));

pub(super) fn known() -> BTreeSet<Capability> {
    AgentType::all().capabilities().expect("built in")
}

fn planned(query: &Query, view: Option<&WorkspaceView>) -> ExecutionPlan {
    let config = Config::default();
    let library = &*LIBRARY;
    let analysis = analyze(query, view, library.vocabulary());
    let selected = library.select(&analysis, query, &Experience::default());
    let definition = library.get(&selected.name).expect("selected");
    let allocation = allocate(analysis.complexity, &config, query, None);
    let plan = plan(PlanInput {
        recalled: Vec::new(),
        advice: &Advice::default(),
        applied: Vec::new(),
        query,
        query_id: &QueryId::from_sequence(7),
        analysis,
        selected,
        definition,
        statistics: None,
        library,
        allocation,
        view,
        workspace: None,
        config: &config,
        now: DateTime::UNIX_EPOCH,
    })
    .expect("a plan");
    assert_eq!(validate(&plan, &known()), Ok(()), "{}", query.query);
    plan
}

/// `id aspect @ scope <- dependencies` of each task.
fn outline(plan: &ExecutionPlan) -> Vec<String> {
    plan.task_delegations
        .iter()
        .map(|task| {
            let scope = task.boundaries.scope.join(" ");
            let mut line = format!("{} {} @ {scope}", task.task_id, task.aspect)
                .trim_end()
                .to_owned();
            if !task.dependencies.is_empty() {
                let needed: Vec<&str> = task.dependencies.iter().map(TaskId::as_str).collect();
                line.push_str(&format!(" <- {}", needed.join(" ")));
            }
            line
        })
        .collect()
}

fn check(text: &str, strategy: &str, expected: &[&str]) {
    let plan = planned(&Query::new(text), Some(&repository()));
    assert_eq!(outline(&plan), expected, "{text}");
    assert_eq!(plan.strategy.name, strategy, "{text}");
}

#[test]
fn simple_queries_are_one_task() {
    check(
        "Why does `parse_header` fail on empty input?",
        "bug_investigation",
        &["t1 cause @"],
    );
    check(
        "Review crates/lead/src/state.rs",
        "code_review",
        &["t1 review @ crates/lead/src/state.rs"],
    );
    check(
        "Check crates/bus/src/publish.rs for security",
        "code_review",
        &["t1 security @ crates/bus/src/publish.rs"],
    );
    check("Where are plans stored?", "research", &["t1 answer @"]);
    check(
        "Find the slowest function and then explain why it is slow",
        "bug_investigation",
        &["t1 cause @"],
    );
}

#[test]
fn aspects_and_scopes_share_the_work() {
    check(
        "Review this repository for panics and unhandled errors",
        "code_review",
        &[
            "t1 panics @ crates/bus crates/cli crates/lead",
            "t2 panics @ crates/protocol crates/tools crates/worker tests",
            "t3 error handling @ crates/bus crates/cli crates/lead",
            "t4 error handling @ crates/protocol crates/tools crates/worker tests",
        ],
    );
    check(
        "Check security, performance and test coverage of the bus crate",
        "code_review",
        &[
            "t1 security @ crates/bus",
            "t2 performance @ crates/bus",
            "t3 tests @ crates/bus tests",
        ],
    );
    check(
        "Compare crates/lead and crates/worker in terms of error handling",
        "comparison",
        &[
            "t1 crates/lead @ crates/lead",
            "t2 crates/worker @ crates/worker",
            "t3 differences @ crates/lead crates/worker <- t1 t2",
        ],
    );
    check(
        "Compare the two cache designs in docs/",
        "comparison",
        &[
            "t1 differences @ docs",
            "t2 behaviour @ docs",
            "t3 limits and figures @ docs",
            "t4 failure and recovery @ docs",
        ],
    );
}

/// What `make run` asks about its repository.
const DEMO: &str = "Review this repository: which functions are risky or hard to maintain, and where could it panic or \
                    ignore an error?";

/// Checks each aspect of a plan with the number of its scopes, in order.
fn check_aspects(text: &str, strategy: &str, expected: &[(&str, usize)]) {
    let plan = planned(&Query::new(text), Some(&repository()));
    let mut found: Vec<(&str, usize)> = Vec::new();
    for task in &plan.task_delegations {
        match found.iter_mut().find(|(aspect, _)| *aspect == task.aspect) {
            Some((_, scopes)) => *scopes += 1,
            None => found.push((&task.aspect, 1)),
        }
    }
    assert_eq!(
        (plan.strategy.name.as_str(), found),
        (strategy, expected.to_vec()),
        "{text}"
    );
    let warnings = plan.analysis.map(|analysis| analysis.warnings);
    assert_eq!(warnings.unwrap_or_default(), Vec::<String>::new(), "{text}");
}

#[test]
fn the_demonstration_looks_at_two_aspects_in_two_scopes_each() {
    let scopes = [
        "crates/bus crates/cli crates/lead",
        "crates/protocol crates/tools crates/worker tests",
    ];
    check(
        DEMO,
        "code_review",
        &[
            &format!("t1 complexity @ {}", scopes[0]),
            &format!("t2 complexity @ {}", scopes[1]),
            &format!("t3 error handling @ {}", scopes[0]),
            &format!("t4 error handling @ {}", scopes[1]),
        ],
    );
    assert_eq!(
        planned(&Query::new(DEMO), Some(&repository())).estimated_duration_ms,
        2_200
    );
}

#[test]
fn reviews_are_asked_for_in_nouns_verbs_and_adjectives() {
    let review = |text, expected| check_aspects(text, "code_review", expected);
    review(
        "Review this repository. Which functions are risky or hard to maintain? Where could it panic or ignore an error?",
        &[("complexity", 5), ("error handling", 5)],
    );
    review(
        "Where could this code panic, crash or swallow an error?",
        &[("error handling", 1)],
    );
    review(
        "Which functions in this repository are complicated, duplicated or hard to read?",
        &[("complexity", 1)],
    );
    review(
        "Find dead code and duplicated functions across the whole codebase",
        &[("complexity", 4)],
    );
    review(
        "Check the whole repository: is anything slow, racy or insecure?",
        &[("performance", 2), ("concurrency", 1), ("security", 1)],
    );
    review(
        "Audit crates/bus and crates/worker for leaks, races and deadlocks",
        &[("concurrency", 2)],
    );
    review("Check crates/bus for resource leaks", &[("correctness", 1)]);
    review(
        "Assess how secure, fast and well tested the project is",
        &[("security", 5), ("performance", 4), ("tests", 1)],
    );
    review(
        "Scan the codebase for swallowed exceptions, risky functions and slow loops",
        &[("error handling", 2), ("complexity", 1), ("performance", 1)],
    );
    review(
        "Find all places in the codebase that ignore a Result or drop errors silently",
        &[("error handling", 4)],
    );
    review(
        "Review crates/bus/src/publish.rs: could it panic?",
        &[("error handling", 1)],
    );
    review(
        "Review the whole repository for unsafe code, memory usage and dependency injection",
        &[("unsafe code", 2), ("performance", 1), ("architecture", 1)],
    );
    // One worker does all of a simple request.
    review(
        "Review crates/bus/src/publish.rs for untested and unmaintainable functions",
        &[("review", 1)],
    );
    review(
        "Is any of the code in this repository insecure or untested?",
        &[("review", 1)],
    );
}

#[test]
fn symptoms_and_subjects_are_no_aspects() {
    let bug = |text| check_aspects(text, "bug_investigation", &[("cause", 1)]);
    bug("Check why the fleet test is slow");
    bug("Why does the worker crash and leak memory after a reconnect?");
    bug("Investigate the race in crates/bus that duplicates answers");
    bug("Debug the panic in crates/worker when the queue is empty");
    let research = |text, expected| check_aspects(text, "research", expected);
    research("How does a worker handle errors?", &[("answer", 1)]);
    research("Where are errors logged?", &[("answer", 1)]);
    research(
        "Explain how the whole project avoids races and slow paths",
        &[
            ("passages", 1),
            ("structure", 1),
            ("behaviour", 1),
            ("decisions and limits", 1),
        ],
    );
    check_aspects(
        "Compare crates/lead and crates/worker in terms of maintainability and tests",
        "comparison",
        &[("complexity", 1), ("tests", 1)],
    );
}

#[test]
fn steps_keep_their_order() {
    check(
        "1. Locate the retry logic in crates/bus\n2. Describe its backoff\n3. Based on that, propose a test",
        "research",
        &[
            "t1 Locate the retry logic in crates/bus @ crates/bus",
            "t2 Describe its backoff @ crates/bus <- t1",
            "t3 propose a test @ crates/bus tests <- t2",
        ],
    );
    let chain = planned(
        &Query::new(
            "First list the public functions of the bus, then rank them by length, and finally suggest which to split",
        ),
        Some(&repository()),
    );
    assert!(!chain.parallelizable);
    assert_eq!(
        (
            chain.resource_allocation.num_workers,
            chain.resource_allocation.max_parallel_workers
        ),
        (1, 1)
    );
    assert_eq!(ranks(&chain), [3, 2, 1]);
    assert_eq!(batches(&chain).len(), 3);
    assert!(
        chain.task_delegations[2]
            .objective
            .starts_with("With the results of t2, suggest which to split")
    );

    check(
        "Map the modules of crates/lead, list the modules of crates/worker, then compare the two results",
        "comparison",
        &[
            "t1 Map the modules of crates/lead @ crates/lead",
            "t2 list the modules of crates/worker @ crates/worker",
            "t3 compare the two results @ crates/lead crates/worker <- t1 t2",
        ],
    );
}

#[test]
fn a_large_review_uses_all_workers_without_overlap() {
    let plan = planned(
        &Query::new("Do a comprehensive review of the entire codebase: architecture, error handling, security, tests"),
        Some(&repository()),
    );
    assert_eq!(plan.resource_allocation.max_parallel_workers, 10);
    assert_eq!(plan.task_delegations.len(), 10, "{:#?}", outline(&plan));
    assert_eq!(plan.aspects.len(), 4);
    assert!(plan.parallelizable);
}

#[test]
fn what_two_parts_ask_of_one_place_is_looked_at_once() {
    check(
        "Audit crates/ for security problems and scan crates/bus for vulnerabilities. Also check docs/ for credentials",
        "code_review",
        &[
            "t1 Audit crates/ for security problems @ crates/cli crates/lead crates/protocol/src/header.rs",
            "t2 Audit crates/ for security problems @ crates/protocol/src/lib.rs crates/protocol/src/plan.rs crates/protocol/src/query.rs crates/tools crates/worker",
            "t3 scan crates/bus for vulnerabilities @ crates/bus",
            "t4 check docs/ for credentials @ docs",
        ],
    );
}

#[test]
fn two_kinds_of_work_are_two_tasks_however_little_they_are() {
    check(
        "Review crates/bus for panics, and tell which function is most in need of tests",
        "code_review",
        &[
            "t1 Review crates/bus for panics @ crates/bus",
            "t2 tell which function is most in need of tests @ crates/bus tests <- t1",
        ],
    );
    check(
        "Why does parse_header never stop, and how is jitter computed?",
        "bug_investigation",
        &["t1 Why does parse_header never stop @", "t2 how is jitter computed @"],
    );
    check("What is a route? Where is it stored?", "research", &["t1 answer @"]);
}

#[test]
fn what_needs_tests_is_the_work_of_who_knows_tests() {
    let query = "Review crates/bus for panics, and tell which function is most in need of tests";
    let plan = planned(&Query::new(query), Some(&repository()));
    let playbooks = plan.task_delegations.iter().map(|task| task.playbook.as_str());
    assert_eq!(playbooks.collect::<Vec<_>>(), ["code_review", "testing"]);
}

#[test]
fn an_aspect_that_a_definition_from_outside_names_is_understood() {
    let mut review = LIBRARY.get("code_review").expect("built in").clone();
    let mut own = review.templates[1].clone();
    own.aspect = "accessibility rules".to_owned();
    own.synonyms = vec!["a11y".to_owned(), "screen reader*".to_owned()];
    review.templates.insert(1, own);
    let library = LIBRARY.with_overrides([&review]);
    assert_eq!(library.rejected(), []);
    let query = Query::new("Review this repository for a11y and screen readers and security");
    let aspects = analyze(&query, None, library.vocabulary()).aspects;
    assert_eq!(aspects, ["accessibility rules", "security"]);
    let before = analyze(&query, None, LIBRARY.vocabulary()).aspects;
    assert!(!before.contains(&"accessibility rules".to_owned()), "{before:?}");
}

#[test]
fn a_delegation_is_whole() {
    let text = "Why does `publish` in crates/bus print \"stream is full\"? It happens after a restart.";
    let plan = planned(
        &Query {
            priority: Some(9),
            ..Query::new(text)
        },
        Some(&repository()),
    );
    let task = &plan.task_delegations[0];
    assert_eq!(
        task.objective,
        "Find the lines in crates/bus that cause what “Why does `publish` in crates/bus print \"stream is full\"?; It happens after a restart” \
         describes, from the symptom back to its origin."
            .replace("full\"?;", "full\";")
    );
    assert_eq!(task.context["symbols"], json!(["publish"]));
    assert_eq!(task.context["quotes"], json!(["stream is full"]));
    assert_eq!(task.context["paths"], json!(["crates/bus"]));
    assert_eq!(task.context["template"], "cause");
    assert_eq!((task.priority, task.playbook.as_str()), (9, "bug_investigation"));
    assert_eq!(task.boundaries.timeout_ms, 25_500);
    assert!(
        task.objective.matches('{').count() == 0
            && !task.key_questions.is_empty()
            && !task.boundaries.constraints.is_empty()
    );
}

#[test]
fn objectives_are_one_sentence_without_gaps() {
    for text in [
        "Review this repository. Look for panics! And {scope} or {query}?",
        "Explain the architecture of the whole project, then summarise it",
        "Compare axum, actix and warp. Which is best?",
        "Audit the whole repository for security, concurrency, error handling and performance",
    ] {
        for task in planned(&Query::new(text), Some(&repository())).task_delegations {
            assert!(
                task.objective.ends_with('.') && !task.objective.contains(". "),
                "{}",
                task.objective
            );
            assert!(!task.objective.contains("{aspect}"), "{}", task.objective);
        }
    }
}

#[test]
fn without_a_workspace_there_is_still_a_plan() {
    let plan = planned(
        &Query::new("Review this repository for panics and unhandled errors"),
        None,
    );
    assert!(
        plan.task_delegations
            .iter()
            .all(|task| task.boundaries.scope.is_empty())
    );
    assert_eq!(plan.task_delegations.len(), 2);
}

/// A query made of pieces that people put together, with every strategy and shape among them.
fn any_question() -> impl Strategy<Value = String> {
    let verb = prop::sample::select(vec![
        "Review",
        "Why does",
        "Refactor",
        "Compare",
        "Write tests for",
        "Implement a cache for",
        "Explain",
        "Rename",
        "Find",
        "make",
    ]);
    let thing = prop::sample::select(vec![
        "crates/bus",
        "the whole repository",
        "`publish`",
        "crates/lead and crates/worker",
        "docs/",
        "\"stream is full\"",
        "it",
        "the cache",
    ]);
    let aspect = prop::sample::select(vec![
        "",
        " for security and panics",
        " in terms of performance, tests and documentation",
        " everywhere",
        " thoroughly",
        " on empty input?",
    ]);
    let join = prop::sample::select(vec![". ", ", then ", " and based on both ", "? Also, ", "; "]);
    let part = (verb, thing, aspect).prop_map(|(verb, thing, aspect)| format!("{verb} {thing}{aspect}"));
    prop::collection::vec((part, join), 1..5).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(part, join)| format!("{part}{join}"))
            .collect::<String>()
    })
}

proptest! {
    #[test]
    fn whole_plans_add_up(
        text in any_question(), tokens in 0_u64..300_000, cents in 0_u64..500, budgeted in any::<bool>(), idle in 0_usize..14,
    ) {
        let config = Config::default();
        let query = Query { budget: budgeted.then_some(Budget { tokens, cents }), ..Query::new(&text) };
        let view = repository();
        let analysis = analyze(&query, Some(&view), LIBRARY.vocabulary());
        let selected = LIBRARY.select(&analysis, &query, &Experience::default());
        let allocation = allocate(analysis.complexity, &config, &query, (idle > 0).then_some(idle));
        let plan = plan(PlanInput {
            recalled: Vec::new(),
        advice: &Advice::default(),
        applied: Vec::new(),
            query: &query,
            query_id: &QueryId::from_sequence(7),
            definition: LIBRARY.get(&selected.name).expect("selected"),
            analysis,
            selected,
            statistics: None,
            library: &LIBRARY,
            allocation: allocation.clone(),
            view: Some(&view),
            workspace: None,
            config: &config,
            now: DateTime::UNIX_EPOCH,
        }).expect("a plan");
        prop_assert_eq!(validate(&plan, &known()), Ok(()), "{}", &text);
        let tasks = &plan.task_delegations;
        let total = query.budget.unwrap_or(Budget { tokens: allocation.max_tokens_budget, cents: allocation.max_cost_cents });
        let sum = |amount: fn(&Budget) -> u64| {
            tasks.iter().map(|task| amount(&task.budget)).sum::<u64>() + amount(&plan.synthesis_reserve)
        };
        prop_assert_eq!((sum(|b| b.tokens), sum(|b| b.cents)), (total.tokens, total.cents), "{}", &text);
        let used = plan.resource_allocation.clone();
        prop_assert!(used.num_workers >= 1 && used.num_workers <= tasks.len(), "{}", &text);
        prop_assert!(used.max_parallel_workers >= 1 && used.max_parallel_workers <= used.num_workers, "{}", &text);
        // Steps that wait for others cost time, no workers.
        let at_once = batches(&plan).iter().map(Vec::len).max().unwrap_or(0).min(used.max_parallel_workers);
        prop_assert!(at_once <= allocation.num_workers.max(1), "{at_once} at once: {}", &text);
        for (index, task) in tasks.iter().enumerate() {
            prop_assert!(task.boundaries.timeout_ms <= used.timeout_ms);
            for other in &tasks[index + 1..] {
                let same = task.aspect == other.aspect && task.playbook == other.playbook;
                prop_assert!(!same || !overlap(&task.boundaries.scope, &other.boundaries.scope), "{}", &text);
            }
        }
    }

    #[test]
    fn any_text_gives_a_valid_plan(text in "[a-zA-Z0-9 ,.?!`'\"/_:\n-]{1,200}", files in 0_usize..40) {
        prop_assume!(!text.trim().is_empty());
        let files: Vec<(String, u64)> = (0..files).map(|index| (format!("m{}/f{index}.rs", index % 5), 9_000)).collect();
        let view = view(&files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect::<Vec<_>>());
        let plan = planned(&Query::new(text), Some(&view));
        let most = match plan.analysis.as_ref().map(|analysis| analysis.complexity) {
            Some(Complexity::Simple) => 1,
            Some(Complexity::Medium) => 4,
            _ => 10,
        };
        prop_assert!((1..=most).contains(&plan.task_delegations.len()));
        prop_assert!(plan.resource_allocation.max_parallel_workers <= most);
    }
}

fn call(id: &str, inputs: &[&str]) -> ToolCall {
    ToolCall {
        tool_id: id.to_owned(),
        tool_name: "diag.echo".to_owned(),
        params: Value::Null,
        outputs: vec![format!("{id}_out")],
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        priority: 5,
    }
}

fn task(id: &str, dependencies: &[&str]) -> TaskRequest {
    TaskRequest {
        task_id: (!id.is_empty()).then(|| id.to_owned()),
        dependencies: dependencies.iter().map(|id| (*id).to_owned()).collect(),
        calls: vec![call("c", &[])],
        ..TaskRequest::default()
    }
}

fn own(tasks: Vec<TaskRequest>) -> Result<ExecutionPlan, PlanError> {
    let query = Query {
        plan: Some(PlanRequest { tasks }),
        ..Query::new("measure")
    };
    own_plan(
        &query,
        &QueryId::from_sequence(1),
        None,
        &Config::default(),
        DateTime::UNIX_EPOCH,
    )
}

fn refused(tasks: Vec<TaskRequest>, expected: &str) {
    let error = own(tasks).expect_err("refused").to_string();
    assert!(error.contains(expected), "{expected}: {error}");
}

#[test]
fn a_plan_of_the_askers_own_is_taken_as_it_is() {
    let mut last = task("last", &["t1", "t2"]);
    last.timeout_ms = Some(500);
    last.calls = vec![call("a", &[]), call("b", &["a", "a_out"])];
    let plan = own(vec![task("", &[]), task("", &[]), last]).expect("a plan");
    assert_eq!(validate(&plan, &known()), Ok(()));
    assert_eq!(outline(&plan), ["t1 t1 @", "t2 t2 @", "last last @ <- t1 t2"]);
    let last = &plan.task_delegations[2];
    assert_eq!((last.boundaries.timeout_ms, last.boundaries.max_tool_calls), (500, 15));
    assert_eq!(last.allowed_tools, ["diag.echo"]);
    assert_eq!(last.required_capabilities, [Capability::diagnostics()]);
    assert_eq!(last.objective, "Run `diag.echo`.");
    assert_eq!(plan.strategy.name, OWN_PLAN);
    assert_eq!(plan.resource_allocation.max_parallel_workers, 3);
    assert_eq!(
        (
            plan.resource_allocation.timeout_ms,
            plan.task_delegations[0].boundaries.timeout_ms
        ),
        (120_000, 102_000)
    );
    assert_eq!(ranks(&plan), [2, 2, 1]);
    assert!(plan.parallelizable && plan.aspects.is_empty());
    // Who brought a plan stays visible; its tasks are not stored twice.
    assert_eq!(plan.query.plan, Some(PlanRequest::default()));
}

#[test]
fn a_plan_of_the_askers_own_is_refused_with_the_reason() {
    refused(vec![], "no tasks");
    refused(vec![TaskRequest::default(); 1001], "1001 tasks, 1000 at most");
    refused(vec![task("a.b", &[])], "task 1 of the plan: the id `a.b`");
    refused(vec![task("a", &[]), task("a", &[])], "two tasks have the id `a`");
    refused(vec![task("t2", &[]), task("", &[])], "two tasks have the id `t2`");
    refused(vec![TaskRequest::default()], "neither an objective nor tool calls");
    refused(
        vec![task("a", &["b"])],
        "depends on `b`, which is no task of the plan; its tasks are `a`",
    );
    refused(vec![task("a", &["a"])], "a → a");
    refused(
        vec![task("a", &["c"]), task("b", &["a"]), task("c", &["b"])],
        "a → c → b → a",
    );
    let with = |change: &dyn Fn(&mut TaskRequest)| {
        let mut request = task("a", &[]);
        change(&mut request);
        vec![request]
    };
    refused(
        with(&|task| task.required_capabilities = vec!["Code-Review".to_owned()]),
        "`Code-Review` is no capability",
    );
    refused(with(&|task| task.priority = Some(0)), "priority 0");
    refused(with(&|task| task.max_tool_calls = Some(0)), "`max_tool_calls` 0");
    refused(with(&|task| task.timeout_ms = Some(0)), "`timeout_ms` 0");
    refused(
        with(&|task| task.calls = vec![call("x", &[]), call("x", &[])]),
        "two tool calls with the id `x`",
    );
    refused(
        with(&|task| task.calls = vec![call("x", &["y"])]),
        "the call `x` needs `y`",
    );
    refused(
        with(&|task| task.calls = vec![call("x", &["y_out"]), call("y", &["x"])]),
        "x → y → x",
    );
    refused(
        with(&|task| task.allowed_tools = vec!["code.*".to_owned()]),
        "uses `diag.echo`, which its `allowed_tools` leave out",
    );
    refused(
        with(&|task| {
            task.calls = vec![call("x", &[]), call("y", &[])];
            task.max_tool_calls = Some(1);
        }),
        "lists 2 tool calls but may make 1",
    );
}

#[test]
fn an_open_objective_is_an_aspect() {
    let open = |objective: &str| TaskRequest {
        objective: objective.to_owned(),
        required_capabilities: vec!["Research".to_owned(), "Research".to_owned()],
        ..TaskRequest::default()
    };
    let plan = own(vec![open("find it"), open("find it")]).expect("a plan");
    assert_eq!(plan.aspects, ["t1: find it", "t2: find it"]);
    assert_eq!(plan.task_delegations[0].required_capabilities.len(), 1);
    assert_eq!(plan.task_delegations[0].allowed_tools, ["code.*"]);
    assert_eq!(validate(&plan, &known()), Ok(()));
}

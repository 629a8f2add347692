//! A model behind real HTTP on a loopback socket: replies, refusals, silence and nonsense, in both dialects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axon_model::{
    Call, Choice, Config, Error, ErrorKind, FleetPauses, KeyId, LanguageModel, Message, Pauses, Provider as Kind,
    Reply, Request, Spent, Stop, TokenUsage, ToolSpec,
};
use axon_tests::Bed;
use axon_tests::provider::{Asked, Counted, Provider, Say};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;

const KEY: &str = "sk-very-secret";
/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const COUNTED: Counted = Counted {
    input: 100,
    cache_read: 40,
    cache_write: 0,
    output: 7,
};

/// Pauses that are kept in memory and shared by whoever holds them.
#[derive(Default)]
struct Board(Mutex<HashMap<KeyId, DateTime<Utc>>>);

#[async_trait]
impl Pauses for Board {
    async fn until(&self, key: &KeyId) -> Option<DateTime<Utc>> {
        self.0.lock().expect("whole").get(key).copied()
    }

    async fn pause(&self, key: &KeyId, until: DateTime<Utc>) {
        self.0.lock().expect("whole").insert(key.clone(), until);
    }
}

fn config(kind: Kind, url: &str) -> Config {
    Config {
        provider: kind,
        name: if kind == Kind::Anthropic {
            "claude-haiku-4-5"
        } else {
            "gpt-4o-mini"
        }
        .to_owned(),
        base_url: url.to_owned(),
        api_key: KEY.into(),
        ..Config::default()
    }
}

fn open(config: &Config, pauses: &Arc<Board>) -> LanguageModel {
    LanguageModel::open(config, pauses.clone())
        .expect("a configuration that works")
        .expect("a model")
}

fn request() -> Request {
    Request {
        system: "Be brief.".to_owned(),
        messages: vec![Message::User("Why?".to_owned())],
        tools: vec![ToolSpec {
            name: "code_read".to_owned(),
            description: "Reads a file".to_owned(),
            schema: json!({"type": "object"}),
        }],
        choice: Choice::Free,
        output_tokens_max: 300,
    }
}

async fn ask(model: &LanguageModel) -> Result<Reply, Error> {
    model.reply(&request(), Instant::now() + PATIENCE).await
}

/// A provider with a script, and a model of each dialect that talks to it.
async fn each_dialect(
    script: impl Fn(&Asked) -> Say + Send + Sync + Clone + 'static,
) -> Vec<(Provider, LanguageModel)> {
    with(script, |_| {}).await
}

async fn with(
    script: impl Fn(&Asked) -> Say + Send + Sync + Clone + 'static,
    change: fn(&mut Config),
) -> Vec<(Provider, LanguageModel)> {
    let mut all = Vec::new();
    for kind in [Kind::Anthropic, Kind::OpenAi] {
        let provider = Provider::start(script.clone()).await;
        let mut config = config(kind, &provider.url());
        change(&mut config);
        all.push((provider, open(&config, &Arc::default())));
    }
    all
}

#[tokio::test]
async fn words_stream_in_with_what_they_cost() {
    for (provider, model) in each_dialect(|_| Say::words("Because of the ünïcode.", COUNTED)).await {
        let reply = ask(&model).await.expect("a reply");
        assert_eq!(reply.text, "Because of the ünïcode.");
        assert_eq!((reply.calls.len(), reply.stop), (0, Stop::Done));
        let usage = TokenUsage {
            input: 100,
            cache_read: 40,
            cache_write: 0,
            output: 7,
        };
        assert_eq!(reply.usage, Some(usage));
        assert!(model.price().of(&usage) > 0.0);
        let asked = &provider.asked()[0];
        assert_eq!(asked.output_tokens_max(), 300);
        assert_eq!(asked.tools(), ["code_read"]);
        let shown: Vec<&str> = asked.headers.values().filter_map(|value| value.to_str().ok()).collect();
        assert!(shown.iter().any(|value| value.ends_with(KEY)), "{shown:?}");
        assert!(!asked.text().contains(KEY));
    }
}

#[tokio::test]
async fn calls_come_side_by_side_and_arguments_may_be_nonsense() {
    let script = |_: &Asked| Say::Turn {
        text: String::new(),
        calls: vec![
            ("code_read".to_owned(), "{\"path\": \"a ü\"}".to_owned()),
            ("code_read".to_owned(), "{\"path\": ".to_owned()),
        ],
        counted: COUNTED,
    };
    for (_provider, model) in each_dialect(script).await {
        let reply = ask(&model).await.expect("a reply");
        assert_eq!(reply.stop, Stop::Calls);
        let parsed: Vec<_> = reply.calls.iter().map(Call::parsed).collect();
        assert_eq!(parsed[0], Ok(json!({"path": "a ü"})));
        assert!(parsed[1].is_err());
        assert_ne!(reply.calls[0].id, reply.calls[1].id);
    }
}

#[tokio::test]
async fn a_limited_key_waits_as_long_as_it_is_told_to_and_so_do_others() {
    let script = |asked: &Asked| match asked.number {
        0 => Say::Refuse(429, Some("1".to_owned())),
        _ => Say::words("yes", COUNTED),
    };
    for kind in [Kind::Anthropic, Kind::OpenAi] {
        let provider = Provider::start(script).await;
        let board = Arc::new(Board::default());
        let config = config(kind, &provider.url());
        let (one, other) = (open(&config, &board), open(&config, &board));
        let first = tokio::spawn(async move { ask(&one).await });
        while board.0.lock().expect("whole").is_empty() {
            tokio::task::yield_now().await;
        }
        ask(&other).await.expect("a reply");
        first.await.expect("it ran").expect("a reply");
        let asked = provider.asked();
        assert_eq!(asked.len(), 3);
        for later in &asked[1..] {
            let waited = later.at.duration_since(asked[0].at);
            assert!(waited >= Duration::from_millis(900), "{kind:?} waited {waited:?}");
        }
        let keys = format!("{:?}", board.0.lock().expect("whole").keys());
        assert!(!keys.contains(KEY), "{keys}");
    }
}

#[tokio::test]
async fn a_pause_that_outlasts_the_task_is_an_error_at_once() {
    let script = |_: &Asked| Say::Refuse(429, Some("3600".to_owned()));
    for (provider, model) in each_dialect(script).await {
        let limited = ask(&model).await.expect_err("limited");
        assert_eq!((limited.kind, limited.spent), (ErrorKind::Limited, Spent::Nothing));
        let paused = ask(&model).await.expect_err("paused");
        assert_eq!(paused.kind, ErrorKind::Limited);
        assert!(paused.message.contains("paused"), "{paused}");
        assert_eq!(provider.asked().len(), 1, "nobody asks while the key is paused");
    }
}

#[tokio::test]
async fn a_failure_of_the_provider_is_tried_again() {
    let script = |asked: &Asked| match asked.number {
        0 => Say::Refuse(500, None),
        1 => Say::Refuse(529, Some("0".to_owned())),
        _ => Say::words("yes", COUNTED),
    };
    for (provider, model) in each_dialect(script).await {
        assert_eq!(ask(&model).await.expect("a reply").text, "yes");
        assert_eq!(provider.asked().len(), 3);
    }
}

#[tokio::test]
async fn a_key_that_keeps_failing_is_left_alone() {
    let failing = with(
        |_| Say::Refuse(503, None),
        |config| {
            config.max_retries = 0;
            config.breaker_threshold = 2;
            config.breaker_timeout_s = 3600;
        },
    );
    for (provider, model) in failing.await {
        for _ in 0..2 {
            let error = ask(&model).await.expect_err("unavailable");
            assert_eq!((error.kind, error.spent), (ErrorKind::Unavailable, Spent::Nothing));
            assert!(error.message.contains("not now"), "{error}");
        }
        let error = ask(&model).await.expect_err("left alone");
        assert!(error.message.contains("left alone"), "{error}");
        assert_eq!(provider.asked().len(), 2);
    }
}

#[tokio::test]
async fn nonsense_is_an_error_that_may_have_cost_something_and_is_not_paid_twice() {
    for (say, words) in [
        (Say::Document("{\"content\": [".to_owned()), "not valid JSON"),
        (Say::Document("{}".to_owned()), "its reply has no"),
        (Say::Document("{\"error\": {\"message\": \"boom\"}}".to_owned()), "boom"),
        (Say::Stream("data: {\"type\":\n\n".to_owned()), "not valid JSON"),
        (Say::Stream(String::new()), "ended before the reply did"),
        (Say::Cut, "ended before the reply did"),
    ] {
        for (provider, model) in each_dialect(move |_| say.clone()).await {
            let error = ask(&model).await.expect_err("nonsense");
            assert_eq!(
                (error.kind, error.spent),
                (ErrorKind::Broken, Spent::Unknown),
                "{error}"
            );
            assert!(error.message.contains(words), "{error} should say: {words}");
            assert_eq!(provider.asked().len(), 1, "{error}");
        }
    }
}

#[tokio::test]
async fn silence_ends() {
    let stalling = with(|_| Say::Stall, |config| config.stall_timeout_ms = 300);
    for (_provider, model) in stalling.await {
        let error = ask(&model).await.expect_err("silent");
        assert_eq!((error.kind, error.spent), (ErrorKind::Broken, Spent::Unknown));
        assert!(error.message.contains("fell silent"), "{error}");
    }
    // A server that takes the connection and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", mute.local_addr().expect("an address"));
    let mut config = config(Kind::OpenAi, &url);
    config.first_byte_timeout_ms = 300;
    let error = ask(&open(&config, &Arc::default())).await.expect_err("mute");
    assert!(error.message.contains("did not begin"), "{error}");
    assert_eq!(error.kind, ErrorKind::Broken);
}

#[tokio::test]
async fn the_deadline_ends_a_reply_that_never_does() {
    for (_provider, model) in each_dialect(|_| Say::Stall).await {
        let until = Instant::now() + Duration::from_millis(500);
        let error = model.reply(&request(), until).await.expect_err("late");
        assert_eq!(error.kind, ErrorKind::OutOfTime);
    }
}

#[tokio::test]
async fn what_stays_wrong_is_said_once_and_without_the_key() {
    for (status, words) in [
        (401, "AXON_MODEL__API_KEY"),
        (400, "not now"),
        (404, "not now"),
        (307, "307"),
    ] {
        for (provider, model) in each_dialect(move |_| Say::Refuse(status, None)).await {
            let error = ask(&model).await.expect_err("refused");
            assert_eq!(
                (error.kind, error.spent),
                (ErrorKind::Rejected, Spent::Nothing),
                "{error}"
            );
            assert!(error.message.contains(words), "{error} should say: {words}");
            assert!(!format!("{error:?} {model:?}").contains(KEY));
            assert_eq!(provider.asked().len(), 1);
        }
    }
}

#[tokio::test]
async fn nobody_there_costs_nothing() {
    let config = Config {
        max_retries: 1,
        ..config(Kind::Ollama, &format!("http://127.0.0.1:{}", axon_tests::free_port()))
    };
    let error = ask(&open(&config, &Arc::default())).await.expect_err("nobody");
    assert_eq!((error.kind, error.spent), (ErrorKind::Unavailable, Spent::Nothing));
    assert!(error.message.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_run_is_recorded_and_played_without_its_provider() {
    let directory = tempfile::tempdir().expect("a directory");
    let provider = Provider::start(|_| Say::words("recorded", COUNTED)).await;
    let live = Config {
        record: Some(directory.path().to_owned()),
        ..config(Kind::Anthropic, &provider.url())
    };
    let said = ask(&open(&live, &Arc::default())).await.expect("a reply");
    let played = Config {
        record: None,
        replay: Some(directory.path().to_owned()),
        api_key: Default::default(),
        ..live
    };
    drop(provider);
    assert_eq!(ask(&open(&played, &Arc::default())).await, Ok(said));
}

#[tokio::test]
async fn a_pause_is_heard_in_the_whole_fleet() {
    let (bed, bus) = Bed::new().await;
    let (mine, theirs) = (FleetPauses::new(&bus), FleetPauses::new(&bed.connect("other").await));
    let provider = Provider::start(|_| Say::Refuse(429, Some("3600".to_owned()))).await;
    let config = config(Kind::Anthropic, &provider.url());
    let here = LanguageModel::open(&config, Arc::new(mine))
        .expect("it works")
        .expect("a model");
    let there = LanguageModel::open(&config, Arc::new(theirs))
        .expect("it works")
        .expect("a model");
    ask(&here).await.expect_err("limited");
    let error = ask(&there).await.expect_err("paused by the other");
    assert!(error.message.contains("paused"), "{error}");
    assert_eq!(provider.asked().len(), 1);
}

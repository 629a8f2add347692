//! The micro services: `ask` submits a query, waits and replies with its answer; `plan` shows what would be done;
//! `strategies` tells the strategies in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Error, Message, Request};
use axon_protocol::{Format, Headers, Query, QueryId, SCHEMA_MAJOR, StrategyDefinition, Stream, encode, header};
use axon_service::Health;
use chrono::Utc;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::context::Context;
use crate::preparation::{Unprepared, prepare};

/// Requests served at once; more are refused.
const REQUESTS_MAX: usize = 1024;
/// How often the stream of answers is read beside the subscription.
const POLL: Duration = Duration::from_secs(2);
/// How long past its deadline an answer is waited for.
const GRACE: Duration = Duration::from_secs(35);
/// How long publishing the query may take.
const SUBMIT: Duration = Duration::from_secs(5);

/// Serves requests until stopped.
pub(crate) async fn run(context: Arc<Context>, health: Health, stop: CancellationToken) -> Result<(), Error> {
    let ns = context.bus.namespace().clone();
    let name = ns.to_string();
    let mut responder = context
        .bus
        .offer(
            &name,
            "Axon answers questions too big for one worker",
            &[("ask", ns.ask()), ("plan", ns.plan()), ("strategies", ns.strategies())],
        )
        .await?;
    // Until here a request would have found nobody.
    health.set_ready("serving", true);
    let mut running = JoinSet::new();
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => continue,
            request = responder.next() => match request {
                Some(request) => request,
                None => break,
            },
        };
        if running.len() >= REQUESTS_MAX {
            refuse(
                &request,
                503,
                "too many requests wait for their answers already: ask again later",
            )
            .await;
            continue;
        }
        let context = context.clone();
        running.spawn(async move {
            let ns = context.bus.namespace();
            match request.subject() {
                subject if subject == ns.plan() => plan(&context, &request).await,
                subject if subject == ns.strategies() => strategies(&context, &request).await,
                _ => ask(&context, &request).await,
            }
        });
    }
    // Those who still wait ask again with the same id, or find the answer in its stream.
    running.shutdown().await;
    responder.stop().await
}

async fn plan(context: &Arc<Context>, request: &Request) {
    let (query, format) = match Query::parse(&request.headers(), request.payload()) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(request, 400, &error.to_string()).await,
    };
    let mut query = query;
    if query.workspace.is_none() {
        query.workspace.clone_from(&context.workspace);
    }
    // Nothing is learnt from a plan that nobody follows, so it tries nothing.
    match prepare(context, &query, &QueryId::generate(), Utc::now(), None).await {
        Ok(prepared) => reply(request, format, &prepared.plan).await,
        Err(Unprepared::Refused(message)) => refuse(request, 422, &message).await,
        Err(Unprepared::Bus(error)) => refuse(request, 503, &error.to_string()).await,
    }
}

async fn strategies(context: &Context, request: &Request) {
    let wanted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|text| Format::from_content_type(text));
    let library = context
        .strategies
        .with_book(|book| context.library.with(&book.definitions));
    let definitions: Vec<&StrategyDefinition> = library.definitions().collect();
    reply(request, wanted.unwrap_or(Format::Json), &definitions).await;
}

async fn ask(context: &Context, request: &Request) {
    let headers = request.headers();
    let (query, format) = match Query::parse(&headers, request.payload()) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(request, 400, &error.to_string()).await,
    };
    let id = match headers.get(header::MESSAGE_ID).map(|text| QueryId::new(text.as_str())) {
        None => QueryId::generate(),
        Some(Ok(id)) => id,
        Some(Err(error)) => return refuse(request, 400, &format!("the `Nats-Msg-Id` cannot be used: {error}")).await,
    };
    match submit_and_wait(context, &id, &query, format, &headers).await {
        Ok(Some(Waited { headers, payload })) => {
            if let Err(error) = request.reply(&headers, payload).await {
                warn!(query = %id, %error, "cannot reply with the answer, it is in the stream");
            }
        }
        Ok(None) => {
            refuse(
                request,
                504,
                &format!("query {id} has no answer yet: ask again with the same id"),
            )
            .await
        }
        Err(error) => refuse(request, 503, &error.to_string()).await,
    }
}

struct Waited {
    headers: Headers,
    payload: bytes::Bytes,
}

async fn submit_and_wait(
    context: &Context,
    id: &QueryId,
    query: &Query,
    format: Format,
    asked: &Headers,
) -> Result<Option<Waited>, Error> {
    let ns = context.bus.namespace().clone();
    let mut answered = context.bus.subscribe(ns.answered(id)).await?;
    let mut message = Message::new(ns.queries(), Format::Msgpack, query)?
        .with(header::MESSAGE_ID, id.as_str())
        .with(header::ACCEPT, format.content_type());
    for name in [header::CLIENT, header::TRACEPARENT] {
        if let Some(value) = asked.get(name) {
            message = message.with(name, value.clone());
        }
    }
    context.bus.publish_until(message, Instant::now() + SUBMIT).await?;
    let longest_s = crate::allocation::timeout_ms_max(&context.config).div_ceil(1000);
    let until = Instant::now() + Duration::from_secs(query.deadline_s.unwrap_or(longest_s)) + GRACE;
    while Instant::now() < until {
        if let Some(stored) = context.bus.last(Stream::Answers, &ns.answer(id)).await? {
            let answer: axon_protocol::Answer = context.bus.decode_stored(&stored).await?;
            return Ok(Some(Waited {
                headers: headers(format),
                payload: encode(format, &answer)?.into(),
            }));
        }
        // The subscription only makes it quicker: the stream is the truth.
        let _ = tokio::time::timeout(POLL, answered.next()).await;
    }
    Ok(None)
}

fn headers(format: Format) -> Headers {
    Headers::from([
        (header::SCHEMA.to_owned(), SCHEMA_MAJOR.to_string()),
        (header::CONTENT_TYPE.to_owned(), format.content_type().to_owned()),
    ])
}

async fn reply<T: Serialize>(request: &Request, format: Format, value: &T) {
    match encode(format, value) {
        Ok(payload) => {
            if let Err(error) = request.reply(&headers(format), payload.into()).await {
                warn!(%error, "cannot reply");
            }
        }
        Err(error) => refuse(request, 500, &error.to_string()).await,
    }
}

async fn refuse(request: &Request, code: usize, message: &str) {
    if let Err(error) = request.refuse(code, message).await {
        warn!(%error, "cannot reply");
    }
}

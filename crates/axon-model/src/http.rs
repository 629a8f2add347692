//! One try of a call over HTTP: sends a request and reads its reply as it streams in. It neither waits nor tries again, and
//! follows no redirect, which could carry the key elsewhere.

use std::time::Duration;

use axon_service::Secret;
use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::dialect::{Dialect, Unreadable, error_of};
use crate::sse::Events;
use crate::{Config, Error, ErrorKind, Reply, Request, TokenUsage};

/// Most bytes of a reply.
const REPLY_BYTES_MAX: usize = 4 << 20;
/// Most bytes read of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long the body of a refusal may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The version of Anthropic's protocol that is spoken.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// 529, which Anthropic answers while it is overloaded.
const OVERLOADED: u16 = 529;

/// Where a model is served.
pub(crate) struct Endpoint {
    model: String,
    url: String,
    dialect: Dialect,
    key: Secret,
    connect_timeout: Duration,
    first_byte_timeout: Duration,
    stall_timeout: Duration,
    /// Made at the first call: an idle process needs no client and no certificates.
    client: OnceCell<reqwest::Client>,
}

impl Endpoint {
    pub(crate) fn new(config: &Config) -> Self {
        let dialect = config.dialect();
        Self {
            model: config.name.clone(),
            url: format!("{}{}", config.url(), dialect.path()),
            dialect,
            key: config.api_key.clone(),
            connect_timeout: config.connect_timeout(),
            first_byte_timeout: config.first_byte_timeout(),
            stall_timeout: config.stall_timeout(),
            client: OnceCell::new(),
        }
    }

    /// Sends a request and reads its reply, until `until` at the latest.
    pub(crate) async fn send(&self, request: &Request, until: Instant) -> Result<Reply, Error> {
        let client = self.client.get_or_try_init(|| async { self.open() }).await?;
        let body = self.dialect.body(&self.model, request).to_string();
        let sending = client.post(&self.url).headers(self.headers()?).body(body).send();
        let first_byte = (Instant::now() + self.first_byte_timeout).min(until);
        let response = match timeout_at(first_byte, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => {
                let message = format!("{} cannot be reached: {}", self.url, root_cause(&error));
                return Err(Error::free(ErrorKind::Unavailable, message));
            }
            Ok(Err(error)) => {
                let message = format!("{} broke off: {}", self.url, root_cause(&error));
                return Err(Error::broken(message, None));
            }
            Err(_) => return Err(self.too_late(until, "did not begin to reply", None)),
        };
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            self.read_stream(response, until).await
        } else {
            self.read_whole(response, until).await
        }
    }

    fn open(&self) -> Result<reqwest::Client, Error> {
        // Whoever was first has installed the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .redirect(reqwest::redirect::Policy::none());
        let host = self.url.split("://").nth(1).unwrap_or_default();
        // A proxy of the environment is for other machines.
        let is_here = ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|here| host.starts_with(here));
        let builder = if is_here { builder.no_proxy() } else { builder };
        builder.build().map_err(|error| {
            Error::free(
                ErrorKind::Rejected,
                format!("no HTTP client can be made: {}", root_cause(&error)),
            )
        })
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if self.dialect == Dialect::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if self.key.is_empty() {
            return Ok(headers);
        }
        let key = self.key.expose().trim();
        let (name, value) = match self.dialect {
            Dialect::Anthropic => (reqwest::header::HeaderName::from_static("x-api-key"), key.to_owned()),
            Dialect::OpenAi { .. } => (AUTHORIZATION, format!("Bearer {key}")),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            let message = "the key of the model holds characters that no key has: look at AXON_MODEL__API_KEY";
            Error::free(ErrorKind::Rejected, message)
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(headers)
    }

    async fn read_stream(&self, mut response: Response, until: Instant) -> Result<Reply, Error> {
        let (mut events, mut assembly) = (Events::default(), self.dialect.assembly());
        let mut bytes = 0;
        'stream: while let Some(piece) = self.piece(&mut response, until, assembly.usage()).await? {
            bytes += piece.len();
            let complete = match events.feed(&piece) {
                Ok(_) if bytes > REPLY_BYTES_MAX => return Err(self.too_large(assembly.usage())),
                Ok(complete) => complete,
                Err(error) => return Err(Error::broken(format!("{}: {error}", self.url), assembly.usage())),
            };
            for data in complete {
                if assembly
                    .take(&data)
                    .map_err(|error| self.unreadable(error, assembly.usage()))?
                {
                    break 'stream;
                }
            }
        }
        if let Some(data) = events.rest() {
            assembly
                .take(&data)
                .map_err(|error| self.unreadable(error, assembly.usage()))?;
        }
        let usage = assembly.usage();
        assembly.finish().map_err(|error| self.unreadable(error, usage))
    }

    async fn read_whole(&self, mut response: Response, until: Instant) -> Result<Reply, Error> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut response, until, None).await? {
            body.extend_from_slice(&piece);
            if body.len() > REPLY_BYTES_MAX {
                return Err(self.too_large(None));
            }
        }
        let body: Value = serde_json::from_slice(&body)
            .map_err(|error| self.unreadable(Unreadable(format!("its reply is not valid JSON: {error}")), None))?;
        if let Some(message) = error_of(&body) {
            return Err(self.unreadable(Unreadable(format!("it replied with an error: {message}")), None));
        }
        self.dialect.whole(&body).map_err(|error| self.unreadable(error, None))
    }

    /// The next piece of a body. Silence is an error.
    async fn piece(
        &self,
        response: &mut Response,
        until: Instant,
        usage: Option<TokenUsage>,
    ) -> Result<Option<bytes::Bytes>, Error> {
        let stall = (Instant::now() + self.stall_timeout).min(until);
        match timeout_at(stall, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                let message = format!("{} broke off within its reply: {}", self.url, root_cause(&error));
                Err(Error::broken(message, usage))
            }
            Err(_) => Err(self.too_late(until, "fell silent within its reply", usage)),
        }
    }

    async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status();
        let retry_after = retry_after(response.headers(), Utc::now());
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(piece)) = response.chunk().await {
                body.extend_from_slice(&piece);
                if body.len() > REFUSAL_BYTES_MAX {
                    break;
                }
            }
        };
        // What a refusal says is worth a moment and no more.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, read).await;
        let said = serde_json::from_slice(&body)
            .ok()
            .and_then(|body: Value| error_of(&body));
        let kind = kind_of(status);
        let message = match (status, said) {
            // Providers repeat parts of the key here.
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                format!(
                    "{} does not accept the key ({status}): look at AXON_MODEL__API_KEY",
                    self.url
                )
            }
            (_, Some(said)) => format!("{} refused ({status}): {}", self.url, self.without_key(&said)),
            (_, None) => format!("{} refused ({status})", self.url),
        };
        Error {
            retry_after,
            ..Error::free(kind, message)
        }
    }

    fn unreadable(&self, error: Unreadable, usage: Option<TokenUsage>) -> Error {
        Error::broken(self.without_key(&format!("{}: {}", self.url, error.0)), usage)
    }

    fn too_large(&self, usage: Option<TokenUsage>) -> Error {
        Error::broken(
            format!("{}: its reply is larger than {REPLY_BYTES_MAX} bytes", self.url),
            usage,
        )
    }

    fn too_late(&self, until: Instant, what: &str, usage: Option<TokenUsage>) -> Error {
        let message = format!("{} {what}", self.url);
        let kind = if Instant::now() >= until {
            ErrorKind::OutOfTime
        } else {
            ErrorKind::Broken
        };
        Error {
            kind,
            ..Error::broken(message, usage)
        }
    }

    fn without_key(&self, text: &str) -> String {
        let key = self.key.expose().trim();
        if key.is_empty() {
            text.to_owned()
        } else {
            text.replace(key, "***")
        }
    }
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Limited,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => ErrorKind::Unavailable,
        _ if status.is_server_error() || status.as_u16() == OVERLOADED => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

/// How long a provider wants to be left alone: seconds, a date, or milliseconds in a header of some.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// The innermost cause, which says what happened; the outer ones only say that something did.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    #[test]
    fn a_provider_tells_in_three_ways_how_long_to_wait() {
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time");
        for (name, value, expected_ms) in [
            ("retry-after", "7", Some(7_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", "Thu, 01 Jan 2026 12:00:30 GMT", Some(30_000)),
            ("retry-after", "Thu, 01 Jan 2026 11:00:00 GMT", Some(0)),
            ("retry-after-ms", "250", Some(250)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("x-other", "7", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(
                retry_after(&headers, now),
                expected_ms.map(Duration::from_millis),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        for (status, kind) in [
            (429, ErrorKind::Limited),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (529, ErrorKind::Unavailable),
            (408, ErrorKind::Unavailable),
            (400, ErrorKind::Rejected),
            (401, ErrorKind::Rejected),
            (404, ErrorKind::Rejected),
            (302, ErrorKind::Rejected),
        ] {
            assert_eq!(
                kind_of(StatusCode::from_u16(status).expect("a status")),
                kind,
                "{status}"
            );
        }
    }
}

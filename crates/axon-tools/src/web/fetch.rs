//! Fetches one address: every step of a redirect is checked like the first, and a name that leads to a private address is
//! not followed unless its host is listed for that.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::FetchConfig;
use super::access::{check, is_public, may_be_private, private};
use crate::tool::cut_text;
use crate::{CallContext, Cost, OUTPUT_BYTES_MAX, Tool, ToolError, http, parse_params, schema_of};

/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Most bytes of JSON the text of a page may take in the output.
const TEXT_BYTES_MAX: usize = OUTPUT_BYTES_MAX - 16 * 1024;
/// Longest address, in bytes.
const URL_BYTES_MAX: usize = 4096;

/// `web.fetch`.
pub(super) struct Fetch {
    config: Arc<FetchConfig>,
    client: OnceCell<Client>,
}

/// Parameters of `web.fetch`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FetchParams {
    /// The http or https address.
    url: String,
}

/// Resolves names, and keeps private addresses from those who may not have them.
struct Resolver(Arc<FetchConfig>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if !may_be_private(host, &config) && found.iter().any(|address| !is_public(address.ip())) {
                return Err(private(host).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl Fetch {
    pub(super) fn new(config: FetchConfig) -> Self {
        Self {
            config: Arc::new(config),
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&Client, ToolError> {
        let build = || async {
            http::client()
                .redirect(Policy::none())
                .dns_resolver(Arc::new(Resolver(self.config.clone())))
                .build()
                .map_err(|error| ToolError::permanent(format!("cannot make an HTTP client: {error}")))
        };
        self.client.get_or_try_init(build).await
    }

    async fn fetch(&self, mut url: Url) -> Result<Value, ToolError> {
        for _ in 0..=REDIRECTS_MAX {
            let refused = |reason| ToolError::invalid_params(format!("`{url}` is not fetched: {reason}"));
            check(&url, &self.config).map_err(refused)?;
            let asked = self.client().await?.get(url.clone()).send().await;
            let response = asked.map_err(|error| trouble(&url, &error))?;
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return self.read(&url, response).await;
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = target.and_then(|target| url.join(target).ok()).ok_or_else(|| {
                ToolError::permanent(format!("`{url}` answered {status} and does not say where to go"))
            })?;
        }
        Err(ToolError::permanent(format!(
            "more than {REDIRECTS_MAX} redirects, the last one to `{url}`"
        )))
    }

    async fn read(&self, url: &Url, mut response: Response) -> Result<Value, ToolError> {
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ToolError::transient(format!("`{url}` answered {status}")));
        }
        if !status.is_success() {
            return Err(ToolError::permanent(format!("`{url}` answered {status}")));
        }
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().chars().take(200).collect::<String>();
        let mut body = Vec::new();
        let mut whole = true;
        while let Some(chunk) = response.chunk().await.map_err(|error| trouble(url, &error))? {
            let room = self.config.max_bytes - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                whole = false;
                break;
            }
        }
        if body.contains(&0) {
            return Err(ToolError::permanent(format!("`{url}` is no text ({kind})")));
        }
        let text = String::from_utf8_lossy(&body);
        let (kept, bytes_cut) = cut_text(&text, TEXT_BYTES_MAX);
        let mut output = json!({ "url": url.as_str(), "status": status.as_u16(), "content_type": kind, "text": kept });
        if bytes_cut > 0 || !whole {
            let read = match whole {
                true => format!("the last {bytes_cut} bytes"),
                false => format!("all that comes after the first {} bytes", kept.len()),
            };
            output["left_out"] = json!(read);
        }
        Ok(output)
    }
}

#[async_trait]
impl Tool for Fetch {
    fn name(&self) -> &str {
        "web.fetch"
    }

    fn description(&self) -> &str {
        "Fetches the text behind an http or https address. Only listed hosts are asked."
    }

    fn schema(&self) -> Value {
        schema_of::<FetchParams>()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let FetchParams { url } = parse_params(self.name(), params)?;
        let wrong = |reason: String| ToolError::invalid_params(format!("this is no address: {reason}"));
        if url.len() > URL_BYTES_MAX {
            return Err(wrong(format!("it is longer than {URL_BYTES_MAX} bytes")));
        }
        let url = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
        let late = || {
            ToolError::timed_out(format!(
                "`{url}` took longer than {} ms (tools.fetch.timeout_ms)",
                self.config.timeout_ms
            ))
        };
        tokio::select! {
            fetched = timeout(self.config.timeout(), self.fetch(url.clone())) => fetched.map_err(|_| late())?,
            () = context.cancel.cancelled() => Err(ToolError::cancelled()),
        }
    }
}

/// What went wrong on the way, with the reason behind the reason.
fn trouble(url: &Url, error: &reqwest::Error) -> ToolError {
    let mut reasons = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        reasons.push(reason.to_string());
        source = reason.source();
    }
    let refused = reasons
        .iter()
        .any(|reason| reason.contains("tools.fetch.private_hosts"));
    let message = format!("cannot fetch `{url}`: {}", reasons.join(": "));
    match refused {
        true => ToolError::invalid_params(message),
        false => ToolError::transient(message),
    }
}

//! NATS micro services: request-reply endpoints that `nats micro` can list, one of a group answering each request.

use async_nats::service::ServiceExt as _;
use axon_protocol::Headers;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SelectAll;

use crate::publish::to_header_map;
use crate::{Bus, Error};

/// A set of endpoints.
pub struct Responder {
    service: async_nats::service::Service,
    requests: SelectAll<async_nats::service::endpoint::Endpoint>,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}

/// A request that wants a reply.
#[derive(Debug)]
pub struct Request {
    inner: async_nats::service::Request,
}

impl Bus {
    /// Offers endpoints under a service name. Each is a name and a subject. Once this returns, a request finds them.
    pub async fn offer(&self, name: &str, description: &str, endpoints: &[(&str, String)]) -> Result<Responder, Error> {
        let failed = |error: async_nats::Error| Error::server(format!("offering the service {name}"), error);
        let service = self
            .inner
            .client
            .service_builder()
            .description(description)
            .start(name, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(failed)?;
        let mut requests = SelectAll::new();
        for (endpoint, subject) in endpoints {
            requests.push(
                service
                    .endpoint_builder()
                    .name(*endpoint)
                    .add(subject.clone())
                    .await
                    .map_err(failed)?,
            );
        }
        // The server reads a connection in order: its reply to a later request shows that it knows the endpoints.
        self.round_trip().await?;
        Ok(Responder { service, requests })
    }
}

impl Responder {
    /// The next request; `None` once the service has stopped.
    pub async fn next(&mut self) -> Option<Request> {
        Some(Request {
            inner: self.requests.next().await?,
        })
    }

    /// Offers nothing more.
    pub async fn stop(self) -> Result<(), Error> {
        self.service
            .stop()
            .await
            .map_err(|error| Error::server("stopping a service", error))
    }
}

impl Request {
    /// The subject asked.
    pub fn subject(&self) -> &str {
        &self.inner.message.subject
    }

    /// What is asked.
    pub fn payload(&self) -> &Bytes {
        &self.inner.message.payload
    }

    /// Its headers.
    pub fn headers(&self) -> Headers {
        crate::publish::from_header_map(self.inner.message.headers.as_ref())
    }

    /// Replies.
    pub async fn reply(&self, headers: &Headers, payload: Bytes) -> Result<(), Error> {
        self.inner
            .respond_with_headers(Ok(payload), to_header_map(headers))
            .await
            .map_err(|error| Error::server("replying", error))
    }

    /// Replies with an error, in the headers that micro services use for it.
    pub async fn refuse(&self, code: usize, message: &str) -> Result<(), Error> {
        let error = async_nats::service::error::Error {
            code,
            status: message.to_owned(),
        };
        self.inner
            .respond(Err(error))
            .await
            .map_err(|error| Error::server("replying", error))
    }
}

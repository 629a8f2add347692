//! What is measured of models, with the names that OpenTelemetry's conventions for generative AI give in traces. They are
//! still in development and stand in this file alone. No content of a conversation is measured.

use std::time::Duration;

use axon_service::metrics::{MODEL_CALLS_TOTAL, MODEL_CENTS, MODEL_DURATION_SECONDS, MODEL_TOKENS_TOTAL};
use metrics::{counter, gauge, histogram};
use tracing::{Span, field::Empty, info_span};

use crate::{Error, Price, Provider, Reply, TokenUsage};

/// The span of one call.
pub(crate) fn span(provider: Provider, model: &str, output_tokens_max: u64) -> Span {
    info_span!(
        "chat",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider.as_str(),
        gen_ai.request.model = model,
        gen_ai.request.max_tokens = output_tokens_max,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        error.type = Empty,
    )
}

/// Counts one try of a call.
pub(crate) fn record(span: &Span, provider: Provider, took: Duration, price: &Price, outcome: &Result<Reply, Error>) {
    let (label, usage) = match outcome {
        Ok(reply) => ("done", reply.usage),
        Err(error) => {
            span.record("error.type", error.kind.as_str());
            (error.kind.as_str(), error.usage)
        }
    };
    counter!(MODEL_CALLS_TOTAL, "provider" => provider.as_str(), "outcome" => label).increment(1);
    histogram!(MODEL_DURATION_SECONDS, "provider" => provider.as_str()).record(took.as_secs_f64());
    let Some(usage) = usage else { return };
    let TokenUsage {
        input,
        cache_read,
        cache_write,
        output,
    } = usage;
    span.record("gen_ai.usage.input_tokens", input + cache_read + cache_write);
    span.record("gen_ai.usage.output_tokens", output);
    for (kind, tokens) in [
        ("input", input),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
        ("output", output),
    ] {
        counter!(MODEL_TOKENS_TOTAL, "kind" => kind).increment(tokens);
    }
    // Counters count whole numbers; cents are fractions.
    gauge!(MODEL_CENTS).increment(price.of(&usage));
}

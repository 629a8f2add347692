//! Starts logging to standard error and the metrics recorder, once per process. Standard output stays free for answers.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde::{Deserialize, Serialize};
use tokio::runtime;
use tokio::task::AbortHandle;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{metrics, process};

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Added in front of the configured filter: the NATS client logs every reconnection attempt at info, and the bus reports
/// those itself.
const QUIET: &str = "async_nats=warn";

/// How logs are written. `RUST_LOG` wins over `filter` where it is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `text` for people, `json` for machines (one object per line).
    pub format: Format,
    /// What is logged, as in `RUST_LOG`: `info`, `axon_lead=debug,info`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Text,
            filter: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Format {
    /// The name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is no list of `target=level`.
    #[error("invalid log filter {filter:?} ({origin}): {reason}; an example is `axon_lead=debug,info`")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// `RUST_LOG` or the configuration key.
        origin: &'static str,
        /// The parser's message.
        reason: String,
    },
    /// This process has a log subscriber or a metrics recorder already.
    #[error("telemetry has been started in this process already: {0}")]
    AlreadyStarted(String),
    /// The recorder refused its settings.
    #[error("cannot build the metrics recorder: {0}")]
    Recorder(#[from] BuildError),
    /// Upkeep of histograms needs a task.
    #[error("telemetry must be started inside a tokio runtime")]
    NoRuntime,
}

/// The running telemetry. Keep it while the process lives: histograms are folded as long as one clone exists.
#[derive(Clone, Debug)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
    _upkeep: Arc<Upkeep>,
}

impl Telemetry {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        if let Some(bytes) = process::resident_bytes() {
            ::metrics::gauge!(metrics::PROCESS_RESIDENT_BYTES).set(bytes as f64);
        }
        self.prometheus.render()
    }

    /// Between scrapes histograms keep every sample, so they are folded into buckets regularly, scraped or not.
    pub(crate) fn over(prometheus: PrometheusHandle) -> Result<Self, Error> {
        let runtime = runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let handle = prometheus.clone();
        let task = runtime.spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                handle.run_upkeep();
            }
        });
        Ok(Self {
            prometheus,
            _upkeep: Arc::new(Upkeep(task.abort_handle())),
        })
    }
}

#[derive(Debug)]
struct Upkeep(AbortHandle);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts logging and metrics for the process `service` (`axon-worker`). A second call is an error and changes nothing.
pub fn init(service: &'static str, config: &Config) -> Result<Telemetry, Error> {
    let filter = filter(std::env::var("RUST_LOG").ok(), config)?;
    let recorder = recorder()?;
    let telemetry = Telemetry::over(recorder.handle())?;
    ::metrics::set_global_recorder(recorder).map_err(|error| Error::AlreadyStarted(error.to_string()))?;

    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(|error| Error::AlreadyStarted(error.to_string()))?;

    metrics::describe_all();
    metrics::set_build_info(service);
    Ok(telemetry)
}

/// The recorder with this system's buckets, not installed.
pub(crate) fn recorder() -> Result<PrometheusRecorder, Error> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), metrics::SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_ratio".to_owned()), metrics::RATIO_BUCKETS)?;
    Ok(builder.build_recorder())
}

fn filter(rust_log: Option<String>, config: &Config) -> Result<EnvFilter, Error> {
    let (filter, origin) = match rust_log.filter(|filter| !filter.trim().is_empty()) {
        Some(filter) => (filter, "RUST_LOG"),
        None => (config.filter.clone(), "telemetry.filter"),
    };
    // A later directive for the same target replaces an earlier one: who asks for async_nats=debug gets it.
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| Error::Filter {
        filter,
        origin,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(filter: &str) -> Config {
        Config {
            filter: filter.to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn rust_log_wins_over_the_configuration() {
        for (rust_log, configured, expected) in [
            (None, "info", "async_nats=warn,info"),
            (Some("debug"), "info", "async_nats=warn,debug"),
            (Some(""), "axon_lead=trace", "async_nats=warn,axon_lead=trace"),
            (Some("async_nats=debug"), "info", "async_nats=debug"),
        ] {
            let filter = filter(rust_log.map(str::to_owned), &config(configured))
                .expect("valid")
                .to_string();
            let sorted = |text: &str| {
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            assert_eq!(sorted(&filter), sorted(expected), "{rust_log:?} {configured}");
        }
    }

    #[test]
    fn a_bad_filter_is_named_with_its_origin() {
        let error = filter(None, &config("axon=loud")).expect_err("refused").to_string();
        assert!(
            error.contains("axon=loud") && error.contains("telemetry.filter"),
            "{error}"
        );
        let error = filter(Some("a=b=c".to_owned()), &config("info"))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("RUST_LOG"), "{error}");
    }

    #[tokio::test]
    async fn starts_once() {
        let telemetry = init("axon-test", &Config::default()).expect("starts");
        let text = telemetry.render();
        assert!(
            text.contains(r#"axon_build_info{version=""#) && text.contains(r#"role="axon-test""#),
            "{text}"
        );
        assert!(text.contains("axon_process_resident_bytes"), "{text}");
        assert!(matches!(
            init("axon-test", &Config::default()),
            Err(Error::AlreadyStarted(_))
        ));
    }

    #[tokio::test]
    async fn histograms_have_buckets() {
        let recorder = recorder().expect("builds");
        let telemetry = Telemetry::over(recorder.handle()).expect("in a runtime");
        ::metrics::with_local_recorder(&recorder, || {
            metrics::describe_all();
            ::metrics::histogram!(metrics::TASK_DURATION_SECONDS, "route" => "Diagnostics").record(0.004);
            ::metrics::histogram!(metrics::ANSWER_COVERAGE_RATIO).record(0.55);
        });
        let text = telemetry.render();
        for line in [
            "# TYPE axon_task_duration_seconds histogram",
            "# HELP axon_task_duration_seconds Time from",
            r#"axon_task_duration_seconds_bucket{route="Diagnostics",le="0.0025"} 0"#,
            r#"axon_task_duration_seconds_bucket{route="Diagnostics",le="0.005"} 1"#,
            r#"axon_answer_coverage_ratio_bucket{le="0.5"} 0"#,
            r#"axon_answer_coverage_ratio_bucket{le="0.6"} 1"#,
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }
}

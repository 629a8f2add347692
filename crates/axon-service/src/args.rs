//! The flags that every role's command line shares, for `#[command(flatten)]`.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{self, ConfigError};
use crate::telemetry::Format;

/// Flags of every Axon process. Flags win over the environment, which wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct ServiceArgs {
    /// Configuration file in TOML [default: $AXON_CONFIG, else ./axon.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Log as text for people or as JSON for machines (`telemetry.format`); RUST_LOG filters
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,

    /// Address of /metrics, /healthz and /readyz; port 0 takes any free one, an empty text none (`health.listen`)
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,

    /// Set any configuration key, e.g. `--set bus.url=nats://10.0.0.5:4222`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,

    /// Drain and exit when standard input, which must be a pipe, is closed: whoever started the process is gone
    #[arg(long)]
    pub exit_with_parent: bool,
}

impl ServiceArgs {
    /// Loads the configuration with these flags; `role_flags` (dotted key, text) are the role's own and win over `--set`.
    pub fn load<C>(&self, role_flags: &[(&str, String)]) -> Result<C, ConfigError>
    where
        C: Serialize + DeserializeOwned + Default,
    {
        let own = self.flags();
        let mut flags: Vec<(&str, String)> = own.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        flags.extend_from_slice(role_flags);
        config::load(self.config.as_deref(), &flags)
    }

    /// The configuration keys that these flags set.
    pub fn flags(&self) -> Vec<(String, String)> {
        let format = self
            .log_format
            .map(|format| ("telemetry.format".to_owned(), format.as_str().to_owned()));
        let listen = self
            .metrics_listen
            .clone()
            .map(|address| ("health.listen".to_owned(), address));
        self.set.iter().cloned().chain(format).chain(listen).collect()
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, e.g. worker.slots=4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        service: ServiceArgs,
    }

    #[test]
    fn flags_become_keys() {
        Args::command().debug_assert();
        let line = "x --set worker.slots=4 --log-format json --metrics-listen 0.0.0.0:9464 --set a.b=c=d";
        let args = Args::try_parse_from(line.split(' ')).expect("parses");
        let flags = args.service.flags();
        let flags: Vec<(&str, &str)> = flags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            flags,
            [
                ("worker.slots", "4"),
                ("a.b", "c=d"),
                ("telemetry.format", "json"),
                ("health.listen", "0.0.0.0:9464"),
            ]
        );
    }

    #[test]
    fn refuses_a_setting_without_value() {
        let error = Args::try_parse_from(["x", "--set", "worker.slots"])
            .err()
            .expect("refused");
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }
}

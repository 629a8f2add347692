//! Loads a process's configuration: defaults < TOML file < environment < flags.
//!
//! One `axon.toml` serves all processes: sections of other roles are accepted unread. Nothing else is: an unknown or
//! invalid key is an error that names the key, where it came from and the nearest key that exists.

mod layer;
mod nearest;

use std::path::{Path, PathBuf};

use ::config::{Config as Merged, ConfigError as MergeError, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::layer::{Layer, Table};
use self::nearest::nearest;

/// The file read when neither `--config` nor `AXON_CONFIG` names one.
pub const DEFAULT_FILE: &str = "axon.toml";

/// The environment variable that names the configuration file.
pub const FILE_VARIABLE: &str = "AXON_CONFIG";

/// Every top-level section that some Axon process reads. A process ignores those that its own configuration lacks.
pub const SECTIONS: &[&str] = &[
    "bus",
    "telemetry",
    "health",
    "lead",
    "registry",
    "worker",
    "synthesizer",
    "tools",
    "model",
    "workspace",
    "cli",
    "memory",
];

const VARIABLE_PREFIX: &str = "AXON_";
const COMMAND_LINE: &str = "command line";

/// Why a configuration was refused. Every message says what to correct and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    Read {
        /// The file as it was named.
        path: String,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {path} is not valid TOML: {reason}")]
    Syntax {
        /// The file as it was named.
        path: String,
        /// The parser's message with line and column.
        reason: String,
    },
    /// A key that no process knows.
    #[error("unknown configuration key `{key}` ({origin}){}", hint(.nearest))]
    UnknownKey {
        /// The dotted key, or the variable's name if it is no proper key.
        key: String,
        /// The file, environment variable or flag that set it.
        origin: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A known key with a value that does not fit.
    #[error("invalid value for the configuration key `{key}` ({origin}): {reason}")]
    InvalidValue {
        /// The dotted key.
        key: String,
        /// The file, environment variable or flag that set it.
        origin: String,
        /// What was expected.
        reason: String,
    },
    /// The compiled-in defaults cannot be serialised: a bug of the component, not of the user.
    #[error("the default configuration cannot be represented: {0}")]
    Defaults(String),
}

/// Loads `C` from its defaults, `file`, the process environment (`AXON_<SECTION>__<KEY>`) and `flags` (dotted key, text).
///
/// Without `file`, `AXON_CONFIG` names it; without that, `./axon.toml` is read if it exists. Text from the environment
/// and from flags is converted to the type of the key's default; lists are separated by commas; an empty text leaves an
/// optional key unset.
pub fn load<C>(file: Option<&Path>, flags: &[(&str, String)]) -> Result<C, ConfigError>
where
    C: Serialize + DeserializeOwned + Default,
{
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect();
    let file = find_file(file, &environment, Path::new(""));
    load_from(file.as_deref(), environment, flags)
}

/// [`load`] with the environment as an argument; reads no file but `file`.
pub fn load_from<C>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<C, ConfigError>
where
    C: Serialize + DeserializeOwned + Default,
{
    let defaults = serde_json::to_value(C::default()).map_err(|error| ConfigError::Defaults(error.to_string()))?;
    let known = Known {
        keys: layer::keys(&defaults),
        defaults,
    };

    let mut layers = vec![Layer::of_defaults(&known.defaults)];
    if let Some(path) = file {
        layers.push(Layer(file_table(path, &known)?));
    }
    layers.push(Layer(environment_table(environment, &known)?));
    layers.push(Layer(flags_table(flags, &known)?));

    let merged = layers
        .into_iter()
        .fold(Merged::builder(), |builder, layer| builder.add_source(layer))
        .build()
        .map_err(|error| ConfigError::Defaults(error.to_string()))?
        .cache;
    deserialise(merged, &known)
}

/// The dotted keys of `C` with their defaults, in order: what a configuration table documents.
pub fn keys<C: Serialize + Default>() -> Result<Vec<(String, serde_json::Value)>, ConfigError> {
    let defaults = serde_json::to_value(C::default()).map_err(|error| ConfigError::Defaults(error.to_string()))?;
    Ok(layer::keys(&defaults)
        .into_iter()
        .map(|key| {
            let value = defaults
                .pointer(&format!("/{}", key.replace('.', "/")))
                .cloned()
                .unwrap_or_default();
            (key, value)
        })
        .collect())
}

/// What `C` accepts, read off its serialised defaults.
struct Known {
    defaults: serde_json::Value,
    keys: Vec<String>,
}

impl Known {
    fn has_section(&self, section: &str) -> bool {
        self.defaults.get(section).is_some()
    }

    fn nearest_section(&self, section: &str) -> Option<String> {
        let own = self
            .defaults
            .as_object()
            .into_iter()
            .flat_map(|sections| sections.keys().map(String::as_str));
        nearest(section, SECTIONS.iter().copied().chain(own)).map(str::to_owned)
    }

    fn unknown(&self, key: String, origin: String) -> ConfigError {
        let nearest = nearest(&key, self.keys.iter().map(String::as_str)).map(str::to_owned);
        ConfigError::UnknownKey { key, origin, nearest }
    }
}

fn find_file(file: Option<&Path>, environment: &[(String, String)], folder: &Path) -> Option<PathBuf> {
    let named = environment
        .iter()
        .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
    let default = || Some(folder.join(DEFAULT_FILE)).filter(|path| path.is_file());
    file.map(Path::to_owned)
        .or_else(|| named.map(|(_, value)| PathBuf::from(value)))
        .or_else(default)
}

fn file_table(path: &Path, known: &Known) -> Result<Table, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|reason| ConfigError::Read {
        path: name.clone(),
        reason,
    })?;
    let table = layer::parse_toml(&text).map_err(|error| ConfigError::Syntax {
        path: name.clone(),
        reason: error.to_string().trim_end().to_owned(),
    })?;

    let origin = format!("file {name}");
    let mut mine = Table::new();
    for (section, value) in table {
        if known.has_section(&section) {
            let value = layer::fit(known.defaults.get(&section), layer::from_origin(value, &origin), false)
                .map_err(|misfit| misfit.under(&section, &origin))?;
            mine.insert(section, value);
        } else if !SECTIONS.contains(&section.as_str()) {
            let nearest = known.nearest_section(&section);
            return Err(ConfigError::UnknownKey {
                key: section,
                origin,
                nearest,
            });
        }
    }
    Ok(mine)
}

/// `AXON_<SECTION>__<KEY>` variables are configuration, so an unknown one is an error. Other `AXON_…` variables are left
/// alone, unless one is a known key spelt with a single underscore: ignoring that would surprise.
fn environment_table(
    environment: impl IntoIterator<Item = (String, String)>,
    known: &Known,
) -> Result<Table, ConfigError> {
    let mut variables: Vec<(String, String)> = environment.into_iter().collect();
    variables.sort();

    let mut table = Table::new();
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        let path = rest.to_ascii_lowercase();
        let origin = format!("environment variable {variable}");
        let Some((section, _)) = path.split_once("__") else {
            if let Some(key) = known
                .keys
                .iter()
                .find(|key| key.contains('.') && key.replace('.', "_") == path)
            {
                let meant = format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase());
                return Err(ConfigError::UnknownKey {
                    key: variable,
                    origin,
                    nearest: Some(meant),
                });
            }
            continue;
        };
        if known.has_section(section) {
            insert_text(&mut table, &path.replace("__", "."), text, &origin, known)?;
        } else if !SECTIONS.contains(&section) {
            let nearest = known.nearest_section(section);
            return Err(ConfigError::UnknownKey {
                key: path.replace("__", "."),
                origin,
                nearest,
            });
        }
    }
    Ok(table)
}

fn flags_table(flags: &[(&str, String)], known: &Known) -> Result<Table, ConfigError> {
    let mut table = Table::new();
    for (key, text) in flags {
        // A flag is meant for this very process, so that a section of another role is a mistake here.
        if !known.has_section(key.split('.').next().unwrap_or_default()) {
            return Err(known.unknown((*key).to_owned(), COMMAND_LINE.to_owned()));
        }
        insert_text(&mut table, key, text.clone(), COMMAND_LINE, known)?;
    }
    Ok(table)
}

fn insert_text(table: &mut Table, key: &str, text: String, origin: &str, known: &Known) -> Result<(), ConfigError> {
    let invalid = |reason: &str| ConfigError::InvalidValue {
        key: key.to_owned(),
        origin: origin.to_owned(),
        reason: reason.to_owned(),
    };
    if key.split('.').any(str::is_empty) {
        return Err(known.unknown(key.to_owned(), origin.to_owned()));
    }
    let default = key.split('.').try_fold(&known.defaults, |value, part| value.get(part));
    let value = layer::fit(default, Value::new(Some(&origin.to_owned()), text), true)
        .map_err(|misfit| misfit.under(key, origin))?;
    layer::insert(table, key, value).map_err(|()| invalid("it is set as a value and as a section at once"))
}

fn deserialise<C: DeserializeOwned>(merged: Value, known: &Known) -> Result<C, ConfigError> {
    let mut unknown = None;
    let result = serde_ignored::deserialize(merged.clone(), |path| {
        // Optional values and newtypes appear as `?` in the path; a user never wrote that.
        let key = path
            .to_string()
            .split('.')
            .filter(|part| *part != "?")
            .collect::<Vec<_>>()
            .join(".");
        unknown.get_or_insert(key);
    });
    match (result, unknown) {
        // A misspelt key is the likelier cause of a missing one, so it is told first.
        (_, Some(key)) => {
            let origin = layer::origin_of(&merged, &key);
            Err(known.unknown(key, origin))
        }
        (Ok(config), None) => Ok(config),
        (Err(error), None) => Err(invalid_value::<C>(error, &merged)),
    }
}

fn invalid_value<C: DeserializeOwned>(error: MergeError, merged: &Value) -> ConfigError {
    let (key, reason) = match error {
        MergeError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (key, format!("expected {expected}, found {unexpected}")),
        MergeError::At { error, key, .. } => (key, error.to_string()),
        MergeError::NotFound(key) => (Some(key), "it is required".to_owned()),
        other => (None, other.to_string()),
    };
    let key = key.unwrap_or_default();
    ConfigError::InvalidValue {
        origin: layer::origin_of(merged, &key),
        reason: unknown_variant::<C>(&reason, merged).unwrap_or(reason),
        key,
    }
}

/// The `config` crate does not say which variants an enum has; serde_json's second opinion on the same data does.
fn unknown_variant<C: DeserializeOwned>(reason: &str, merged: &Value) -> Option<String> {
    if !reason.contains("does not have variant constructor") {
        return None;
    }
    let opinion = serde_json::from_value::<C>(layer::to_json(merged)).err()?.to_string();
    opinion.starts_with("unknown variant").then_some(opinion)
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;

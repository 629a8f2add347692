//! One layer of configuration as a table of values that remember where they came from, and how text and file values are
//! made to fit the type of a key's default. Reads no file and no environment.

use ::config::{ConfigError as MergeError, File, FileFormat, Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::ConfigError;

/// A table of configuration values by key.
pub(super) type Table = Map<String, Value>;

/// A table as a source of the `config` crate.
#[derive(Clone, Debug)]
pub(super) struct Layer(pub(super) Table);

impl Layer {
    pub(super) fn of_defaults(defaults: &Json) -> Self {
        match from_json(defaults).kind {
            ValueKind::Table(table) => Self(table),
            _ => Self(Table::new()),
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, MergeError> {
        Ok(self.0.clone())
    }
}

/// A value that cannot be what its key's default is.
#[derive(Debug)]
pub(super) struct Misfit {
    key: Vec<String>,
    reason: String,
}

impl Misfit {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            key: Vec::new(),
            reason: reason.into(),
        }
    }

    pub(super) fn under(self, key: &str, origin: &str) -> ConfigError {
        let key = std::iter::once(key)
            .chain(self.key.iter().rev().map(String::as_str))
            .collect::<Vec<_>>()
            .join(".");
        ConfigError::InvalidValue {
            key,
            origin: origin.to_owned(),
            reason: self.reason,
        }
    }
}

/// Makes `value` fit the type of `default`. With `text` the value came as text and is parsed; from a file it must have
/// the right type already, for the `config` crate would quietly round `4.5` slots to 5 and read `true` as 1.
pub(super) fn fit(default: Option<&Json>, value: Value, text: bool) -> Result<Value, Misfit> {
    let origin = value.origin().map(str::to_owned);
    let kind = match (default, value.kind) {
        (Some(Json::Object(fields)), ValueKind::Table(table)) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| match fit(fields.get(&key), value, text) {
                    Ok(value) => Ok((key, value)),
                    Err(mut misfit) => {
                        misfit.key.push(key);
                        Err(misfit)
                    }
                })
                .collect::<Result<Table, Misfit>>()?,
        ),
        (Some(Json::Number(number)), kind) => fit_number(number.is_f64(), kind, text)?,
        (Some(Json::Bool(_)), kind) => fit_bool(kind, text)?,
        (Some(Json::Array(_)), ValueKind::String(list)) if text => ValueKind::Array(
            list.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::new(origin.as_ref(), item))
                .collect(),
        ),
        (Some(Json::Array(_)), ValueKind::Array(items)) => ValueKind::Array(items),
        (Some(Json::Array(_)), other) => return Err(Misfit::new(format!("expected a list, found {}", show(&other)))),
        (Some(Json::Null), ValueKind::String(nothing)) if text && nothing.is_empty() => ValueKind::Nil,
        (_, kind) => kind,
    };
    Ok(Value::new(origin.as_ref(), kind))
}

fn fit_number(fraction: bool, kind: ValueKind, text: bool) -> Result<ValueKind, Misfit> {
    let expected = if fraction { "a number" } else { "a whole number" };
    let misfit = |found: String| Err(Misfit::new(format!("expected {expected}, found {found}")));
    match kind {
        ValueKind::String(number) if text => {
            let trimmed = number.trim();
            let parsed = match fraction {
                true => trimmed
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite())
                    .map(ValueKind::Float),
                false => trimmed
                    .parse()
                    .map(ValueKind::I64)
                    .or_else(|_| trimmed.parse().map(ValueKind::U64))
                    .ok(),
            };
            parsed.map_or_else(|| misfit(format!("{number:?}")), Ok)
        }
        ValueKind::I64(_) | ValueKind::U64(_) => Ok(kind),
        ValueKind::Float(_) if fraction => Ok(kind),
        other => misfit(show(&other)),
    }
}

fn fit_bool(kind: ValueKind, text: bool) -> Result<ValueKind, Misfit> {
    match kind {
        ValueKind::Boolean(_) => Ok(kind),
        ValueKind::String(word) if text => match word.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(ValueKind::Boolean(true)),
            "false" | "no" | "off" | "0" => Ok(ValueKind::Boolean(false)),
            _ => Err(Misfit::new(format!("expected true or false, found {word:?}"))),
        },
        other => Err(Misfit::new(format!("expected true or false, found {}", show(&other)))),
    }
}

fn show(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// Inserts `value` at a dotted `key`; fails where a part of the key holds a plain value already.
pub(super) fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), ()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((section, rest)) => {
            let nested = table
                .entry(section.to_owned())
                .or_insert_with(|| Value::new(None, Table::new()));
            match &mut nested.kind {
                ValueKind::Table(nested) => insert(nested, rest, value),
                _ => Err(()),
            }
        }
    }
}

/// Parses TOML into a table without origins.
pub(super) fn parse_toml(text: &str) -> Result<Table, MergeError> {
    File::from_str(text, FileFormat::Toml).collect()
}

/// Marks a value and everything in it as coming from `origin`.
pub(super) fn from_origin(value: Value, origin: &String) -> Value {
    let kind = match value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, from_origin(value, origin)))
                .collect(),
        ),
        ValueKind::Array(items) => {
            ValueKind::Array(items.into_iter().map(|value| from_origin(value, origin)).collect())
        }
        kind => kind,
    };
    Value::new(Some(origin), kind)
}

/// Where the value at `key` (`a.b[0].c` or `a.b.0.c`) came from; merging forgets it for tables, so their first value tells.
pub(super) fn origin_of(root: &Value, key: &str) -> String {
    fn first_origin(value: &Value) -> Option<&str> {
        value.origin().or_else(|| match &value.kind {
            ValueKind::Table(table) => table.values().find_map(first_origin),
            ValueKind::Array(items) => items.iter().find_map(first_origin),
            _ => None,
        })
    }

    let mut value = Some(root);
    for part in key.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        value = match value.map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table.get(part),
            Some(ValueKind::Array(items)) => part.parse().ok().and_then(|index: usize| items.get(index)),
            _ => None,
        };
    }
    value.and_then(first_origin).unwrap_or("defaults").to_owned()
}

/// All dotted keys of `defaults`; a table without entries is a key itself.
pub(super) fn keys(defaults: &Json) -> Vec<String> {
    fn collect(value: &Json, prefix: &str, keys: &mut Vec<String>) {
        match value {
            Json::Object(fields) if !fields.is_empty() => {
                for (name, field) in fields {
                    let key = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    collect(field, &key, keys);
                }
            }
            _ => keys.push(prefix.to_owned()),
        }
    }

    let mut all = Vec::new();
    collect(defaults, "", &mut all);
    all.retain(|key| !key.is_empty());
    all
}

fn from_json(json: &Json) -> Value {
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(flag) => ValueKind::Boolean(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::U64(number),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => ValueKind::String(text.clone()),
        Json::Array(items) => ValueKind::Array(items.iter().map(from_json).collect()),
        Json::Object(fields) => ValueKind::Table(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), from_json(value)))
                .collect(),
        ),
    };
    Value::new(None, kind)
}

pub(super) fn to_json(value: &Value) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(flag) => Json::from(*flag),
        ValueKind::I64(number) => Json::from(*number),
        ValueKind::U64(number) => Json::from(*number),
        ValueKind::I128(number) => Json::from(*number as f64),
        ValueKind::U128(number) => Json::from(*number as f64),
        ValueKind::Float(number) => Json::from(*number),
        ValueKind::String(text) => Json::from(text.as_str()),
        ValueKind::Array(items) => items.iter().map(to_json).collect(),
        ValueKind::Table(table) => {
            Json::Object(table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
    }
}

//! References to outputs within parameters: finding them, and putting in what they refer to.

use std::cell::Cell;

use serde_json::Value;

use super::is_name;
use crate::{ToolError, json_bytes};

/// Most bytes that references may put into the parameters of one call.
const FILLED_BYTES_MAX: usize = 1 << 20;

/// Shows every reference within a value. Returns whether there is anything that [`fill`] would change.
pub(super) fn visit<'a, E>(
    value: &'a Value,
    found: &mut impl FnMut(Reference<'a>) -> Result<(), E>,
) -> Result<bool, E> {
    Ok(match value {
        Value::String(text) if text.contains("${") => {
            for part in parts(text) {
                if let Part::Reference(reference) = part {
                    found(reference)?;
                }
            }
            true
        }
        Value::Array(items) => items
            .iter()
            .try_fold(false, |any, item| Ok(visit(item, found)? || any))?,
        Value::Object(fields) => fields
            .values()
            .try_fold(false, |any, field| Ok(visit(field, found)? || any))?,
        _ => false,
    })
}

/// A copy of the value with every reference replaced by what `look_up` finds for it.
pub(super) fn fill<'v>(
    value: &Value,
    look_up: &impl Fn(&Reference<'_>) -> Result<&'v Value, ToolError>,
) -> Result<Value, ToolError> {
    let filler = Filler {
        look_up,
        left: Cell::new(FILLED_BYTES_MAX),
    };
    filler.fill(value)
}

/// A reference `${output.field.0}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// What stands between the braces.
    pub(super) text: &'a str,
    /// The output it begins with.
    pub(super) output: &'a str,
}

impl<'a> Reference<'a> {
    /// Reads what stands between the braces; `None` if that is no reference, as in a regular expression.
    fn parse(text: &'a str) -> Option<Self> {
        let output = text.split('.').next().unwrap_or_default();
        let valid = is_name(output) && text.split('.').all(|part| !part.is_empty()) && !text.contains(['$', '{', '\n']);
        valid.then_some(Self { text, output })
    }

    /// The value it refers to within that output.
    pub(super) fn find<'v>(&self, output: &'v Value) -> Option<&'v Value> {
        self.text.split('.').skip(1).try_fold(output, step)
    }
}

fn step<'v>(value: &'v Value, part: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Reference(Reference<'a>),
}

/// Cuts a text into references and what lies between. `$${` is the text `${`.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let open = at + found;
        if open > from && text.as_bytes()[open - 1] == b'$' {
            // Escaped: the first `$` falls away and the rest is text.
            parts.push(Part::Text(&text[from..open - 1]));
            from = open;
            at = open + 2;
            continue;
        }
        let reference = text[open + 2..]
            .split_once('}')
            .and_then(|(inner, _)| Reference::parse(inner));
        at = open + 2;
        if let Some(reference) = reference {
            if open > from {
                parts.push(Part::Text(&text[from..open]));
            }
            at += reference.text.len() + 1;
            from = at;
            parts.push(Part::Reference(reference));
        }
    }
    if from < text.len() {
        parts.push(Part::Text(&text[from..]));
    }
    parts
}

struct Filler<'f, F> {
    look_up: &'f F,
    left: Cell<usize>,
}

impl<'v, F: Fn(&Reference<'_>) -> Result<&'v Value, ToolError>> Filler<'_, F> {
    fn fill(&self, value: &Value) -> Result<Value, ToolError> {
        Ok(match value {
            Value::String(text) if text.contains("${") => {
                let parts = parts(text);
                if let [Part::Reference(reference)] = parts.as_slice() {
                    return self.look_up(reference).cloned();
                }
                let mut whole = String::with_capacity(text.len());
                for part in &parts {
                    match part {
                        Part::Text(text) => whole.push_str(text),
                        Part::Reference(reference) => match self.look_up(reference)? {
                            Value::String(text) => whole.push_str(text),
                            other => whole.push_str(&other.to_string()),
                        },
                    }
                }
                Value::String(whole)
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, field)| Ok((name.clone(), self.fill(field)?)));
                Value::Object(filled.collect::<Result<_, ToolError>>()?)
            }
            other => other.clone(),
        })
    }

    /// A small plan could name a large output many thousand times, so what is put in is counted.
    fn look_up(&self, reference: &Reference<'_>) -> Result<&'v Value, ToolError> {
        let value = (self.look_up)(reference)?;
        let left = self.left.get().checked_sub(json_bytes(value)).ok_or_else(|| {
            ToolError::invalid_params(format!(
                "references put more than {FILLED_BYTES_MAX} bytes into the parameters: refer to less"
            ))
        })?;
        self.left.set(left);
        Ok(value)
    }
}

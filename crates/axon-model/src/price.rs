//! What tokens cost. Prices are data: a built-in list, and a file that comes before it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Provider, TokenUsage};

const BUILT_IN: &str = include_str!("../prices.toml");

/// Tokens that a price is for.
const TOKENS_PER_PRICE: f64 = 1_000_000.0;

/// What a model costs, in US cents per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Price {
    /// Read anew.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the provider's cache.
    pub cache_read: f64,
    /// Read anew and written to the provider's cache.
    pub cache_write: f64,
}

impl Price {
    /// What these tokens cost, in US cents.
    pub fn of(&self, usage: &TokenUsage) -> f64 {
        let at = |tokens: u64, price: f64| tokens as f64 * price / TOKENS_PER_PRICE;
        at(usage.input, self.input)
            + at(usage.cache_read, self.cache_read)
            + at(usage.cache_write, self.cache_write)
            + at(usage.output, self.output)
    }

    /// The most that one token of a request costs, however the provider's cache counts it, in US cents.
    pub(crate) fn input_token_max(&self) -> f64 {
        self.input.max(self.cache_write).max(self.cache_read) / TOKENS_PER_PRICE
    }

    /// What one token of a reply costs, in US cents.
    pub(crate) fn output_token(&self) -> f64 {
        self.output / TOKENS_PER_PRICE
    }
}

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The file cannot be read.
    #[error("cannot read the prices {path} (model.prices): {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The file is no list of prices.
    #[error(
        "{path} holds no prices: {reason}; write [[model]] tables with name, input and output, as the built-in list does"
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model nobody has a price for.
    #[error(
        "no price is known for the model `{0}`: write its price in US cents per million tokens into a file, as \
         [[model]] with name, input and output, and name that file as model.prices"
    )]
    Unknown(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

/// A list of prices; the first that fits a name counts.
#[derive(Default)]
pub struct Prices(Vec<Entry>);

impl Prices {
    /// The built-in prices, behind those of a file where there is one.
    pub fn open(file: Option<&Path>) -> Result<Self, PriceError> {
        let mut prices = Self::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|reason| PriceError::Read {
                path: path.to_owned(),
                reason,
            })?;
            prices.add(&text, path)?;
        }
        prices.add(BUILT_IN, Path::new("prices.toml"))?;
        Ok(prices)
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), PriceError> {
        let refuse = |reason: String| PriceError::Syntax {
            path: path.to_owned(),
            reason,
        };
        let list: List = toml::from_str(text).map_err(|error| refuse(error.message().to_owned()))?;
        for entry in &list.model {
            let given = [
                Some(entry.input),
                Some(entry.output),
                entry.cache_read,
                entry.cache_write,
            ];
            if given
                .into_iter()
                .flatten()
                .any(|price| !price.is_finite() || price < 0.0)
            {
                return Err(refuse(format!("a price of `{}` is no amount of money", entry.name)));
            }
        }
        self.0.extend(list.model);
        Ok(())
    }

    /// The price of a model. What one serves oneself costs nothing unless a price is given.
    pub fn of(&self, provider: Provider, name: &str) -> Result<Price, PriceError> {
        let fits = |entry: &&Entry| match entry.name.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == entry.name,
        };
        match self.0.iter().find(fits) {
            Some(entry) => Ok(Price {
                input: entry.input,
                output: entry.output,
                cache_read: entry.cache_read.unwrap_or(entry.input),
                cache_write: entry.cache_write.unwrap_or(entry.input),
            }),
            None if provider == Provider::Ollama => Ok(Price::default()),
            None => Err(PriceError::Unknown(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_counts_and_a_file_comes_first() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(
            file.path(),
            "[[model]]\nname = \"gpt-4o\"\ninput = 1\noutput = 2\n[[model]]\nname = \"mine\"\ninput = 0\noutput = 0\n",
        )
        .expect("written");
        let prices = Prices::open(Some(file.path())).expect("prices");
        let price = |name: &str| prices.of(Provider::OpenAi, name).expect("a price");
        assert_eq!((price("gpt-4o").input, price("gpt-4o").cache_read), (1.0, 1.0));
        assert_eq!(price("gpt-4o-mini-2024-07-18").output, 60.0);
        assert_eq!(price("mine"), Price::default());
        let unknown = prices.of(Provider::OpenAi, "other").expect_err("unknown").to_string();
        assert!(
            unknown.contains("`other`") && unknown.contains("model.prices"),
            "{unknown}"
        );
        assert_eq!(prices.of(Provider::Ollama, "other").expect("free"), Price::default());
    }

    #[test]
    fn a_wrong_list_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, words) in [
            ("[[model]]\nname = \"x\"\n", "input"),
            (
                "[[model]]\nname = \"x\"\ninput = -1\noutput = 0\n",
                "no amount of money",
            ),
            ("[[modell]]\n", "modell"),
        ] {
            std::fs::write(file.path(), text).expect("written");
            let error = Prices::open(Some(file.path())).err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let price = Prices::open(None)
            .and_then(|prices| prices.of(Provider::Anthropic, "claude-sonnet-4-5"))
            .expect("built in");
        let usage = TokenUsage {
            input: 1_000,
            cache_read: 10_000,
            cache_write: 2_000,
            output: 500,
        };
        assert!((price.of(&usage) - (0.3 + 0.3 + 0.75 + 0.75)).abs() < 1e-9);
    }
}

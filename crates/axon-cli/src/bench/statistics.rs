//! Figures of a measurement. Pure.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Latencies of one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latencies {
    sorted_ms: Vec<f64>,
}

impl Latencies {
    pub(crate) fn new(latencies: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted_ms: Vec<f64> = latencies
            .into_iter()
            .map(|latency| latency.as_secs_f64() * 1000.0)
            .collect();
        sorted_ms.sort_by(f64::total_cmp);
        Self { sorted_ms }
    }

    /// The smallest latency that at least this share of all stay within (nearest rank); 0 of none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.sorted_ms.len() as f64).ceil() as usize;
        self.sorted_ms.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        if self.sorted_ms.is_empty() {
            return 0.0;
        }
        self.sorted_ms.iter().sum::<f64>() / self.sorted_ms.len() as f64
    }

    /// The figures that every measurement prints.
    pub(crate) fn figures(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("p50_ms", self.quantile_ms(0.5)),
            ("p99_ms", self.quantile_ms(0.99)),
            ("mean_ms", self.mean_ms()),
            ("max_ms", self.quantile_ms(1.0)),
        ]
    }
}

/// A figure with three decimals: more are noise.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// The figures of one round, in order.
pub(crate) type Round = Vec<(&'static str, f64)>;

/// What a measurement prints: what was measured and where, the median of each figure over all rounds, and the rounds.
pub(crate) fn document(settings: Value, about: Map<String, Value>, rounds: &[Round]) -> Value {
    let mut document = about;
    if let Value::Object(settings) = settings {
        document.extend(settings);
    }
    document.extend(medians(rounds));
    let each = |round: &Round| {
        round
            .iter()
            .map(|(name, value)| ((*name).to_owned(), rounded(*value)))
            .collect()
    };
    document.insert(
        "rounds".to_owned(),
        rounds.iter().map(|round| Value::Object(each(round))).collect(),
    );
    Value::Object(document)
}

/// The median of each figure over all rounds; of an even number the mean of the middle two.
fn medians(rounds: &[Round]) -> Map<String, Value> {
    let Some(first) = rounds.first() else {
        return Map::new();
    };
    let median_of = |index: usize| {
        let mut values: Vec<f64> = rounds
            .iter()
            .filter_map(|round| round.get(index))
            .map(|(_, value)| *value)
            .collect();
        values.sort_by(f64::total_cmp);
        f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    };
    first
        .iter()
        .enumerate()
        .map(|(index, (name, _))| ((*name).to_owned(), rounded(median_of(index))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis));
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)] {
            assert_eq!(latencies.quantile_ms(share), expected, "{share}");
        }
        assert_eq!(latencies.mean_ms(), 50.5);
        let one = Latencies::new([Duration::from_millis(7)]);
        assert_eq!((one.quantile_ms(0.5), one.quantile_ms(0.99)), (7.0, 7.0));
        let none = Latencies::new([]);
        assert_eq!((none.quantile_ms(0.5), none.mean_ms()), (0.0, 0.0));
    }

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let rounds = [
            vec![("rate", 1.0), ("p50_ms", 9.0)],
            vec![("rate", 3.0), ("p50_ms", 1.0)],
            vec![("rate", 2.0), ("p50_ms", 2.00049)],
        ];
        let medians_of = |rounds| Value::Object(medians(rounds));
        assert_eq!(medians_of(&rounds), json!({"rate": 2.0, "p50_ms": 2.0}));
        assert_eq!(medians_of(&rounds[..2]), json!({"rate": 2.0, "p50_ms": 5.0}));
        assert_eq!(medians_of(&[]), json!({}));
        let about = Map::from_iter([("server".to_owned(), json!("2.10.27"))]);
        let expected =
            json!({"n": 3, "p50_ms": 9.0, "rate": 1.0, "rounds": [{"p50_ms": 9.0, "rate": 1.0}], "server": "2.10.27"});
        assert_eq!(document(json!({"n": 3}), about, &rounds[..1]), expected);
    }
}

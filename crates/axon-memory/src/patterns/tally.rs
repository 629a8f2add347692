//! How often something held of late, and what that share surely is. Pure.

/// Additions after which an earlier one counts half: what changed shows soon, and chance does not decide.
const HALVED_AFTER: f64 = 12.0;
/// Standard deviations between a share and its bounds: of a hundred bounds five are wrong.
const DEVIATIONS: f64 = 1.64;

/// A share whose older part counts less.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// What was counted.
    pub weight: f64,
    /// That of which something held.
    pub hits: f64,
}

impl Tally {
    /// Adds something later than all before, with a weight from 0 to 1.
    pub fn add(&mut self, held: bool, weight: f64) {
        let share = 0.5_f64.powf(1.0 / HALVED_AFTER);
        self.weight = self.weight * share + weight;
        self.hits = self.hits * share + if held { weight } else { 0.0 };
    }

    /// Both together.
    pub fn with(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            hits: self.hits + other.hits,
        }
    }

    /// This without a part of it.
    pub fn without(self, part: Self) -> Self {
        Self {
            weight: (self.weight - part.weight).max(0.0),
            hits: (self.hits - part.hits).max(0.0),
        }
    }

    /// The share; 0 before anything was counted.
    pub fn rate(&self) -> f64 {
        if self.weight > 0.0 {
            self.hits / self.weight
        } else {
            0.0
        }
    }

    /// What the share surely is at least and at most: the interval of Wilson (1927), which holds for small numbers too.
    pub fn bounds(&self) -> (f64, f64) {
        if self.weight <= 0.0 {
            return (0.0, 1.0);
        }
        let (n, share) = (self.weight, self.rate());
        let squared = DEVIATIONS * DEVIATIONS;
        let centre = share + squared / (2.0 * n);
        let spread = DEVIATIONS * (share * (1.0 - share) / n + squared / (4.0 * n * n)).sqrt();
        let whole = 1.0 + squared / n;
        ((centre - spread) / whole, (centre + spread) / whole)
    }

    /// Whether this share is surely larger than another one: neither lies within the bounds of the other.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.bounds().0 > other.rate() && self.rate() > other.bounds().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hits: f64, weight: f64) -> Tally {
        Tally { weight, hits }
    }

    #[test]
    fn bounds_close_in_on_the_share() {
        for (hits, weight, low, high) in [
            (0.0, 0.0, 0.0, 1.0),
            (5.0, 5.0, 0.650, 1.0),
            (50.0, 100.0, 0.419, 0.581),
            (0.0, 20.0, 0.0, 0.119),
        ] {
            let (at_least, at_most) = of(hits, weight).bounds();
            assert!(
                (at_least - low).abs() < 0.001 && (at_most - high).abs() < 0.001,
                "{hits} of {weight}: {at_least} {at_most}"
            );
        }
    }

    #[test]
    fn a_share_exceeds_another_only_for_sure() {
        for (one, other, expected) in [
            (of(5.0, 5.0), of(10.0, 20.0), true),
            (of(2.0, 2.0), of(10.0, 20.0), false),
            (of(20.0, 29.0), of(17.0, 29.0), false),
            (of(5.0, 5.0), of(4.0, 5.0), false),
        ] {
            assert_eq!(one.exceeds(&other), expected, "{one:?} {other:?}");
            assert!(!other.exceeds(&one));
        }
    }

    #[test]
    fn what_turns_bad_shows_soon() {
        let mut tally = Tally::default();
        (0..200).for_each(|_| tally.add(true, 1.0));
        assert!(
            tally.rate() > 0.999 && (17.0..18.5).contains(&tally.weight),
            "{tally:?}"
        );
        (0..12).for_each(|_| tally.add(false, 1.0));
        assert!((tally.rate() - 0.5).abs() < 0.01, "{tally:?}");
    }
}

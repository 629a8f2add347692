//! Words for people that several texts share.

/// A number with its noun, which takes an `s` unless there is one: `1 task`, `3 tasks`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        for (number, expected) in [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks")] {
            assert_eq!(counted(number, "task"), expected);
        }
    }
}

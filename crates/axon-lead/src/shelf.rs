//! The strategies in force: the built-in ones with the definitions of the bucket, compiled anew only when these change.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axon_protocol::StrategyDefinition;

use crate::strategy::Library;

/// Definitions by name, as the bucket holds them.
type Definitions = BTreeMap<String, StrategyDefinition>;

/// The library that was in force last, and the definitions it was made from.
pub(crate) struct Shelf {
    builtin: Library,
    latest: Mutex<(Definitions, Library)>,
}

impl Shelf {
    pub(crate) fn new(builtin: Library) -> Self {
        Self {
            latest: Mutex::new((Definitions::new(), builtin.clone())),
            builtin,
        }
    }

    /// The library with these definitions. Copying one is cheap: compiled strategies are shared.
    pub(crate) fn with(&self, definitions: &Definitions) -> Library {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0 != *definitions {
            *latest = (definitions.clone(), self.builtin.with_overrides(definitions.values()));
        }
        latest.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_follows_the_definitions() {
        let builtin = Library::builtin().expect("sound");
        let shelf = Shelf::new(builtin.clone());
        let mut own = builtin.get("general").expect("built in").clone();
        own.name = "own".to_owned();
        let definitions = Definitions::from([(own.name.clone(), own.clone())]);
        assert!(shelf.with(&Definitions::new()).get("own").is_none());
        assert_eq!(shelf.with(&definitions).get("own"), Some(&own));
        own.keywords.push("another".to_owned());
        let changed = Definitions::from([(own.name.clone(), own.clone())]);
        assert_eq!(shelf.with(&changed).get("own"), Some(&own));
        assert!(
            shelf.with(&Definitions::new()).get("own").is_none(),
            "a definition was taken back"
        );
    }
}

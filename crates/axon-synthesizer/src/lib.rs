//! The synthesizer: merges the findings of a query into its one answer.

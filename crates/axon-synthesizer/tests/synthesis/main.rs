//! The synthesis as a pure function: constructed sets of findings with known answers, and properties of all sets.

mod fixture;
mod large;
mod properties;
mod prose;
mod tables;

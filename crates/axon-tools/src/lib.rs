//! Tools, their parallel executor, and the workspace they work on.

//! What crosses the wire stays readable: golden bytes of every message, messages as first published, and schemas.

mod golden;
mod samples;
mod schemas;

//! The commands, one in each file.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod cancel;
pub(crate) mod console;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod explain;
pub(crate) mod feedback;
pub(crate) mod guard;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod mcp;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod queries;
pub(crate) mod scale;
pub(crate) mod strategies;
pub(crate) mod submit;
pub(crate) mod tools;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod watch;
pub(crate) mod workers;

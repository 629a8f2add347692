//! Tools that run a command the configuration names: `command.<name>`. Each run works on a private copy of the workspace
//! that is thrown away, so it changes nothing that others see; what it does beyond that directory nobody holds back.

mod config;
mod copy;
mod tail;
mod tool;

use crate::{Config, Toolbox, ToolboxError};

pub use config::CommandConfig;

/// Adds the commands that are configured.
pub(crate) fn register(toolbox: &mut Toolbox, config: &Config) -> Result<(), ToolboxError> {
    for (name, command) in &config.commands {
        toolbox.register(tool::CommandTool::new(name, command.clone(), config.supervisor.clone()))?;
    }
    Ok(())
}

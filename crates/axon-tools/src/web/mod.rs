//! The tool that fetches an address: `web.fetch`, from hosts that the configuration lists and from no other.

mod access;
mod config;
mod fetch;

use crate::{Config, Toolbox, ToolboxError};

pub use config::FetchConfig;

/// Adds the tool where a host is listed.
pub(crate) fn register(toolbox: &mut Toolbox, config: &Config) -> Result<(), ToolboxError> {
    if config.fetch.is_on() {
        toolbox.register(fetch::Fetch::new(config.fetch.clone()))?;
    }
    Ok(())
}

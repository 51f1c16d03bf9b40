//! `seatrial config show`: what is in force.

use anyhow::{Context as _, Result};

use crate::config::Config;

/// Prints the tree as TOML. Secrets have no way to print themselves.
pub(crate) fn show(config: &Config) -> Result<u8> {
    super::print(&toml::to_string_pretty(config).context("cannot write the configuration")?);
    Ok(0)
}

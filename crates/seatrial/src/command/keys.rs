//! `seatrial keys`: key rings of the vault.

use anyhow::{Context as _, Result};
use seatrial_store::vault::ring::KeyRing;

use crate::cli::KeysCommand;

/// Makes, changes or lists a ring.
pub(crate) fn run(what: &KeysCommand) -> Result<u8> {
    match what {
        KeysCommand::New { file } => {
            if file.exists() {
                anyhow::bail!("{} is there already; a ring is never overwritten", file.display());
            }
            let ring = KeyRing::open_or_create(file).with_context(|| format!("key ring {}", file.display()))?;
            super::print(&ring.ids().join("\n"));
        }
        KeysCommand::Rotate { file } => {
            let id = KeyRing::rotate(file).with_context(|| format!("key ring {}", file.display()))?;
            super::print(&format!(
                "{id}\nCopy the file to every process of the service and start them anew: workers first."
            ));
        }
        KeysCommand::Retire { file, id } => {
            KeyRing::retire(file, id).with_context(|| format!("key ring {}", file.display()))?;
        }
        KeysCommand::List { file } => {
            let ring = KeyRing::load(file).with_context(|| format!("key ring {}", file.display()))?;
            super::print(&ring.ids().join("\n"));
        }
    }
    Ok(0)
}

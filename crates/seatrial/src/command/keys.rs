//! `seatrial keys`: key rings of the vault, and secrets that sign webhooks.

use anyhow::{Context as _, Result};
use seatrial_server::webhook::Secrets;
use seatrial_store::{private_file, vault::ring::KeyRing};

use crate::cli::KeysCommand;

/// What goes before the secret in a file that we write.
const REMARKS: &str = "# Signs Seatrial's webhooks, and receivers check them with it. Each secret of this file signs:\n\
    # to change it, add the new one, give it to the receivers, then remove the old one.\n";

/// Makes, changes or lists a ring; makes a secret.
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
        KeysCommand::Webhook { file } => {
            let secret = Secrets::fresh()?;
            if !private_file::create(file, &format!("{REMARKS}{secret}\n"))? {
                anyhow::bail!("{} is there already; a secret is never overwritten", file.display());
            }
            super::print(&format!(
                "{}\nName it in server.webhooks.secret_file of each API process, and give its secret to the receivers.",
                file.display()
            ));
        }
    }
    Ok(0)
}

//! `seatrial cancel`: asks for the end of jobs.

use anyhow::Result;
use seatrial_core::{job::Ending, view::StateWord};

use super::remote;
use crate::{
    cli::{Cli, client::CancelArgs},
    client,
};

/// Asks for each; 0 when the server took every wish.
pub(crate) async fn run(cli: &Cli, args: &CancelArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    for id in &args.ids {
        let job = client::cancel(&client, *id).await?;
        let how = match job.view.state {
            StateWord::Ended(Ending::Cancelled) => "cancelled".to_owned(),
            StateWord::Ended(ending) => format!("was over: {ending}"),
            StateWord::Open(_) => "ends within seconds".to_owned(),
        };
        if !cli.quiet {
            super::print(&format!("{id} {how}"));
        }
    }
    Ok(0)
}

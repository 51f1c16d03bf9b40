//! `seatrial wait`: until jobs are over.

use anyhow::Result;

use super::remote::{self, Waited};
use crate::{
    cli::{Cli, OutputFormat, client::WaitArgs},
    client,
};

/// Waits for each in turn: meanwhile the others go on, so it takes as long as the longest. Returns the
/// code of the first that did not succeed.
pub(crate) async fn run(cli: &Cli, args: &WaitArgs) -> Result<u8> {
    let mut code = 0;
    for id in &args.ids {
        let (client, show) = remote::waiting_client(cli, &args.server, "", args.format)?;
        let job = match remote::unless_interrupted(client::job(&client, *id)).await {
            Some(Ok(job)) => job,
            Some(Err(failure)) => {
                show.finish();
                return Err(failure.into());
            }
            None => return Ok(remote::INTERRUPTED),
        };
        let job = match remote::wait(cli, &client, &show, &job).await? {
            Waited::Over(job) => job,
            Waited::Interrupted => return Ok(remote::INTERRUPTED),
        };
        match args.format {
            OutputFormat::Json => super::print_json(&job.raw)?,
            OutputFormat::Text => {
                if cli.quiet && args.ids.len() > 1 {
                    super::print(&id.to_string());
                }
                remote::print_end(cli, &job, None);
            }
        }
        if code == 0 {
            code = remote::exit_code(&job);
        }
    }
    Ok(code)
}

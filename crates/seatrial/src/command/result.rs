//! `seatrial result`: the exact bytes that the guest left.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use seatrial_core::finding::escape_untrusted;

use super::remote;
use crate::{
    cli::{Cli, client::ResultArgs},
    client::{self, download},
};

/// Fetches a result; without one the exit code is the job's, or 2 while it is not over.
pub(crate) async fn run(cli: &Cli, args: &ResultArgs) -> Result<u8> {
    let client = remote::client(cli, &args.server, "")?;
    let (bytes, checked) = match download::result(&client, args.id).await {
        Ok(result) => result,
        Err(failure) if failure.code() == Some("not_produced") => {
            let _ = write!(anstream::stderr(), "{}", failure.explain());
            let job = client::job(&client, args.id).await?;
            let code = remote::exit_code(&job);
            return Ok(if code == 0 { failure.exit_code() } else { code });
        }
        Err(failure) => return Err(failure.into()),
    };
    if !checked {
        client.note("the server announced no digest; the bytes were not compared with one");
    }
    match &args.output {
        Some(path) => super::run::write_new(path, &bytes)?,
        // JSON may hold characters that drive a terminal.
        None if std::io::stdout().is_terminal() => {
            let text = String::from_utf8_lossy(&bytes);
            for line in text.lines() {
                super::print(&escape_untrusted(line));
            }
        }
        None => std::io::stdout().write_all(&bytes).context("cannot write the result")?,
    }
    Ok(0)
}

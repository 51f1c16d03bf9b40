//! The output of one stage: read to its end, in as many pieces as a server gives, across lost connections.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::{Method, Request, Response};
use seatrial_core::{id::JobId, job::Stage};

use super::{Client, Failure, Patience};

/// How often a stage that writes nothing is asked again, when the server ends the stream early.
const AGAIN: Duration = Duration::from_millis(500);

/// A connection that lasted so long was a good one, whether or not something was written.
const GOOD: Duration = Duration::from_secs(20);

/// The request for a stage's output.
pub(crate) fn request(client: &Client, id: JobId, stage: Stage, offset: u64, follow: bool) -> Request {
    let (stage, offset) = (stage.to_string(), offset.to_string());
    let mut query = vec![("stage", stage.as_str()), ("offset", offset.as_str())];
    if follow {
        query.push(("follow", "true"));
    }
    client.request(Method::GET, &["jobs", &id.to_string(), "logs"], &query)
}

/// Whether the server says that nothing comes after this answer, if it says so.
pub(crate) fn is_complete(response: &Response) -> Option<bool> {
    Some(response.headers().get("x-log-complete")? == "true")
}

/// Hands everything from `offset` on to `take`: what there is now, or, with `follow`, until the stage is
/// over.
pub(crate) async fn read(
    client: &Client,
    id: JobId,
    stage: Stage,
    mut offset: u64,
    follow: bool,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (mut tries, mut spent) = (0, Duration::ZERO);
    // A stream that ended does not say why: the server may stop. A plain request tells.
    let mut plain = !follow;
    loop {
        let (before, since) = (offset, Instant::now());
        let response = match client.open(&request(client, id, stage, offset, !plain)).await {
            Ok(response) => response,
            // The offset is behind the end.
            Err(failure) if failure.status() == Some(416) => return Ok(()),
            Err(failure) => return Err(failure.into()),
        };
        let complete = is_complete(&response);
        let broken = copy(client, response, &mut offset, &mut take).await?;
        // A stream that broke is opened again; one that ended is followed by the plain request.
        let probe = follow && !plain && broken.is_none();
        if offset > before || since.elapsed() > GOOD {
            (tries, spent) = (0, Duration::ZERO);
        }
        let pause = match broken {
            Some(failure) => match Patience::WAIT.pause(tries, spent, None) {
                Some(pause) => pause,
                None => return Err(failure.into()),
            },
            None if complete == Some(true) => return Ok(()),
            None if offset > before || probe => Duration::ZERO, // a server may cut what it gives
            None if !follow => return Ok(()),
            None if complete.is_none() && super::job(client, id).await?.is_over() => return Ok(()),
            None => AGAIN,
        };
        plain = !follow || probe;
        tries += 1;
        spent += pause;
        tokio::time::sleep(pause).await;
    }
}

/// Copies an answer; a connection that breaks is returned, for it can be resumed.
async fn copy(
    client: &Client,
    mut response: Response,
    offset: &mut u64,
    take: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<Option<Failure>> {
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                *offset += bytes.len() as u64;
                take(&bytes)?;
            }
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Failure::unreachable(&client.server(), &error))),
        }
    }
}

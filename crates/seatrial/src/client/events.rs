//! What happens to a job, as a stream that survives lost connections: it goes on behind the last number
//! that was seen, so nothing is told twice and nothing is left out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use seatrial_core::{
    id::JobId,
    record::{News, NewsBody},
};
use serde::Deserialize as _;
use serde_json::Value;

use super::{Client, Failure, Patience, model::Told, sse};

/// A connection that lasted so long was a good one, whether or not something was told.
const GOOD: Duration = Duration::from_secs(20);

/// A job's events from some number on.
pub(crate) struct Events<'a> {
    client: &'a Client,
    job: JobId,
    last: u64,
    stream: Option<Stream>,
    ready: VecDeque<Told>,
    over: bool,
    patience: Patience,
    /// Connections in a row that told nothing, and the pauses between them.
    fruitless: u32,
    paused: Duration,
    retry_ms: u64,
}

struct Stream {
    response: Response,
    decoder: sse::Decoder,
    since: Instant,
    told: bool,
}

impl<'a> Events<'a> {
    /// Those after `last`; 0 for all.
    pub(crate) fn after(client: &'a Client, job: JobId, last: u64) -> Self {
        Self {
            client,
            job,
            last,
            stream: None,
            ready: VecDeque::new(),
            over: false,
            patience: Patience::WAIT,
            fruitless: 0,
            paused: Duration::ZERO,
            retry_ms: 0,
        }
    }

    /// The next one; `None` when the job is over and all was told.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Failure> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Ok(Some(told));
            }
            if self.over {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            match stream.response.chunk().await {
                Ok(Some(bytes)) => {
                    let messages = stream
                        .decoder
                        .push(&bytes)
                        .map_err(|error| self.client.foreign(error.to_string()))?;
                    self.retry_ms = stream.decoder.retry_ms.unwrap_or(self.retry_ms);
                    for message in messages {
                        self.take(&message.id, &message.data)?;
                    }
                }
                Ok(None) => self.lost(None).await?,
                Err(error) => {
                    let failure = Failure::unreachable(&self.client.server(), &error);
                    self.lost(Some(failure)).await?;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let id = self.job.to_string();
        let mut request = self.client.request(Method::GET, &["jobs", &id, "events"], &[]);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if self.last > 0 {
            headers.insert("last-event-id", HeaderValue::from(self.last));
        }
        match self.client.once(request).await {
            // What the standard has for "there will be no more".
            Ok(response) if response.status() == StatusCode::NO_CONTENT => self.over = true,
            Ok(response) => {
                let kind = response.headers().get(header::CONTENT_TYPE);
                if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
                    return Err(self.client.foreign("its events are no event stream"));
                }
                self.stream = Some(Stream {
                    response,
                    decoder: sse::Decoder::default(),
                    since: Instant::now(),
                    told: false,
                });
            }
            Err(failure) if failure.may_pass() => self.pause(failure).await?,
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn take(&mut self, id: &str, data: &str) -> Result<(), Failure> {
        let raw: Value =
            serde_json::from_str(data).map_err(|error| self.client.foreign(format!("an event is no JSON: {error}")))?;
        let seq = raw.get("seq").and_then(Value::as_u64).or_else(|| id.parse().ok());
        let Some(seq) = seq else {
            return Err(self.client.foreign("an event has no number"));
        };
        if let Some(stream) = &mut self.stream {
            stream.told = true;
        }
        if seq <= self.last {
            return Ok(()); // told already
        }
        self.last = seq;
        let news = News::deserialize(&raw).ok();
        self.over |= matches!(
            news,
            Some(News {
                body: NewsBody::Settled { .. },
                ..
            })
        );
        self.ready.push_back(Told { seq, news, raw });
        Ok(())
    }

    /// The connection is gone: by intent (a server that stops, a stream that was too slow) or not.
    async fn lost(&mut self, failure: Option<Failure>) -> Result<(), Failure> {
        let Some(stream) = self.stream.take() else {
            return Ok(());
        };
        if self.over {
            return Ok(());
        }
        if stream.told || stream.since.elapsed() > GOOD {
            self.fruitless = 0;
            self.paused = Duration::ZERO;
        } else if failure.is_none() && self.fruitless > 0 && super::job(self.client, self.job).await?.is_over() {
            // Twice nothing was told, and nothing will be: its events are not kept any more.
            self.over = true;
            return Ok(());
        }
        self.pause(failure.unwrap_or_else(|| self.client.foreign("its event stream ends before the job")))
            .await
    }

    async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        let asked = failure.retry_after().or_else(|| {
            let retry = Duration::from_millis(self.retry_ms).min(self.patience.longest);
            (self.retry_ms > 0).then_some(retry)
        });
        let Some(pause) = self.patience.pause(self.fruitless, self.paused, asked) else {
            return Err(failure);
        };
        if self.fruitless == 1 {
            // The first loss is nothing to talk about: servers end streams of slow readers on purpose.
            self.client.note(format!("{failure}; trying again, the job goes on"));
        }
        tokio::time::sleep(pause).await;
        self.fruitless += 1;
        self.paused += pause;
        Ok(())
    }
}
